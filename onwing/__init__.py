"""Onwing's operator's command line: it speaks to AWS's APIs and to nothing else."""
