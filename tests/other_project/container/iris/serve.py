"""Answers /ping and /invocations: a species for each line of four measurements."""

import io
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import joblib
import pandas as pd


class Handler(BaseHTTPRequestHandler):
    model = None

    def do_GET(self):
        self.answer(200, b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        try:
            rows = pd.read_csv(io.StringIO(body), header=None)
            species = Handler.model.predict(rows.values).tolist()
        except ValueError as error:
            self.answer(400, json.dumps({"error": str(error)}).encode())
        else:
            self.answer(200, json.dumps({"species": species}).encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    Handler.model = joblib.load("/opt/ml/model/tree.joblib")
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", 8080))
    ThreadingHTTPServer(("0.0.0.0", port), Handler).serve_forever()
