"""localcloud.fidelity.object_times."""

from localcloud.testing import Cloud

from ..localcloud_requests import unique


def test_every_answer_gives_the_same_whole_second(localcloud: Cloud, bucket: str) -> None:
    s3, prefix = localcloud.client("s3"), unique("times")
    s3.put_object(Bucket=bucket, Key=f"{prefix}/put", Body=b"1")
    copied = s3.copy_object(Bucket=bucket, Key=f"{prefix}/copy", CopySource={"Bucket": bucket, "Key": f"{prefix}/put"})
    upload = s3.create_multipart_upload(Bucket=bucket, Key=f"{prefix}/parts")["UploadId"]
    named = {"Bucket": bucket, "Key": f"{prefix}/parts", "UploadId": upload}
    part = {"PartNumber": 1, "ETag": s3.upload_part(**named, PartNumber=1, Body=b"2")["ETag"]}
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": [part]})
    listed = {
        each["Key"]: each["LastModified"] for each in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
    }
    versions = s3.list_object_versions(Bucket=bucket, Prefix=prefix)["Versions"]
    assert len(listed) == 3
    for key, moment in listed.items():
        assert moment.microsecond == 0
        assert moment == s3.head_object(Bucket=bucket, Key=key)["LastModified"]
    assert {each["Key"]: each["LastModified"] for each in versions} == listed
    assert copied["CopyObjectResult"]["LastModified"] == listed[f"{prefix}/copy"]
