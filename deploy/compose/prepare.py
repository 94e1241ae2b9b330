#!/usr/bin/env python3
"""prepare.py SERVER: makes what live360 needs at a server that stands in for S3 and SQS, as the template does at AWS.

Two buckets, a queue whose messages go to a dead-letter queue after 50 receptions, and S3's word to the queue when something
came in. Safe to run again. Signs nothing: for a real account there is deploy/aws.
"""

import json
import sys
import urllib.error
import urllib.request

ACCOUNT = "000000000000"
REGION = "us-east-1"
INGEST, EGRESS = "live360-ingest", "live360-egress"
QUEUE, DEAD = "live360-jobs", "live360-dead"
# Above what workers may be taken away from one job.
RECEPTIONS_MAX = 50
WAIT_S = 10


def ask(server: str, method: str, path: str, service: str, body: bytes = b"", headers: dict[str, str] | None = None):
    credential = f"Credential=stand-in/20260101/{REGION}/{service}/aws4_request"
    request = urllib.request.Request(f"{server}{path}", data=body or None, method=method, headers=headers or {})
    request.add_header("Authorization", f"AWS4-HMAC-SHA256 {credential}")
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        return answer.read()


def bucket(server: str, name: str) -> None:
    try:
        ask(server, "PUT", f"/{name}", "s3")
    except urllib.error.HTTPError as error:
        # It is there, and ours.
        if error.code != 409:
            raise


def queue(server: str, name: str, attributes: dict[str, str]) -> None:
    body = json.dumps({"QueueName": name, "Attributes": attributes}).encode()
    kind = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.CreateQueue"}
    ask(server, "POST", "/", "sqs", body, kind)


def arn(name: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def notification() -> bytes:
    def rule(prefix: str, suffix: str) -> str:
        rules = f"<FilterRule><Name>prefix</Name><Value>{prefix}</Value></FilterRule>"
        if suffix:
            rules += f"<FilterRule><Name>suffix</Name><Value>{suffix}</Value></FilterRule>"
        return (
            f"<QueueConfiguration><Id>{prefix.strip('/')}</Id><Queue>{arn(QUEUE)}</Queue>"
            f"<Event>s3:ObjectCreated:*</Event><Filter><S3Key>{rules}</S3Key></Filter></QueueConfiguration>"
        )

    inner = rule("uploads/", "") + rule("rec/", "/ended.json")
    return f"<NotificationConfiguration>{inner}</NotificationConfiguration>".encode()


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: prepare.py http://HOST:PORT")
    server = sys.argv[1].rstrip("/")
    bucket(server, INGEST)
    bucket(server, EGRESS)
    queue(server, DEAD, {"MessageRetentionPeriod": "1209600"})
    redrive = json.dumps({"deadLetterTargetArn": arn(DEAD), "maxReceiveCount": str(RECEPTIONS_MAX)})
    queue(server, QUEUE, {"VisibilityTimeout": "60", "RedrivePolicy": redrive})
    ask(server, "PUT", f"/{INGEST}?notification", "s3", notification())
    print(f"{server}: buckets {INGEST} and {EGRESS}, queue {QUEUE} with dead letters in {DEAD}")


main()
