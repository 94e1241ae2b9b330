"""What each kind of machine may do, and what for: the whole list, which the template must have, no more and no less.

The README shows it; `(when …)` are rights that the template gives only under that condition.
"""

START = {
    "s3:GetObject on the package": "fetch the program",
    "cloudformation:SignalResource on the stack": "tell the stack that it is ready, or that it failed to start",
    "secretsmanager:GetSecretValue on its own secrets": "fetch them into files that only the program reads",
    "logs:CreateLogStream, logs:PutLogEvents on the stack's log": "keep the log of a failed start",
}

# Origins and transcoders both finish recordings, and remove what is too old.
RECORDINGS = {
    "s3:ListBucket on both buckets": "find recordings and work; tell what is missing from what is forbidden",
    "s3:GetObject, s3:PutObject, s3:AbortMultipartUpload on ingest rec/ sessions/": (
        "masters and journals; signs of life; finish what a dead origin left"
    ),
    "s3:DeleteObject on ingest rec/*/log/* sessions/": "journals of recordings in which nothing came; old signs of life",
    "s3:GetObject, s3:PutObject, s3:AbortMultipartUpload on egress vod/ assets/": (
        "what can be watched, and its entry in the list"
    ),
    "s3:DeleteObject on ingest rec/ jobs/ gone/ (when IngestDays)": "remove masters that are too old",
    "s3:GetObject, s3:PutObject on ingest gone/ (when IngestDays)": "note what is being removed",
    "s3:DeleteObject on egress vod/ assets/ gone/ (when EgressDays)": "remove recordings that are too old",
    "s3:GetObject, s3:PutObject on egress gone/ (when EgressDays)": "note what is being removed",
}

ORIGIN = RECORDINGS | {
    "s3:GetObject on ingest jobs/": "show how far transcoders are",
    "s3:PutObject on ingest jobs/*/expired.json (when EgressDays)": "note that an asset is not to be made again",
}

TRANSCODER = RECORDINGS | {
    "s3:GetObject on ingest uploads/": "read what people dropped",
    "s3:GetObject, s3:PutObject, s3:AbortMultipartUpload on ingest jobs/": "plans, and what is done of them",
    "sqs:ReceiveMessage, sqs:ChangeMessageVisibility, sqs:DeleteMessage, sqs:GetQueueAttributes, sqs:SendMessage on the jobs' queue": (
        "take jobs, hold them, end them; make messages of a plan's tasks"
    ),
}

EDGE = {
    "s3:GetObject on egress vod/": "serve recordings",
    "s3:ListBucket on egress": "tell what is missing from what is forbidden",
    "elasticloadbalancing:DeregisterTargets on its own target group": "leave it before it turns anybody away",
}

FLOW_LOG = {
    "logs:CreateLogStream, logs:PutLogEvents, logs:DescribeLogStreams on the stack's log": "note refused connections",
}

ROLES = {
    "OriginRole": START | ORIGIN,
    "EdgeRole": START | EDGE,
    "TranscoderRole": START | TRANSCODER,
    "TestSourceRole": START,
    "FlowLogRole": FLOW_LOG,
}

# How the places above are written in the template.
PLACES = {
    "the package": ['{"Fn::Sub": "arn:${AWS::Partition}:s3:::${PackageBucket}/${PackageKey}"}'],
    "the stack": ['{"Ref": "AWS::StackId"}'],
    "the stack's log": ['{"Fn::GetAtt": ["Log", "Arn"]}'],
    "both buckets": ['{"Fn::GetAtt": ["EgressBucket", "Arn"]}', '{"Fn::GetAtt": ["IngestBucket", "Arn"]}'],
    "egress": ['{"Fn::GetAtt": ["EgressBucket", "Arn"]}'],
    "the jobs' queue": ['{"Fn::GetAtt": ["JobsQueue", "Arn"]}'],
    "its own target group": ['{"Ref": "EdgeTargets"}'],
}


def place(text):
    """The resources that a place stands for, as JSON; None for a role's own secrets, which another rule knows."""
    if text == "its own secrets":
        return None
    if text in PLACES:
        return PLACES[text]
    bucket, *folders = text.split()
    arn = {"ingest": "${IngestBucket.Arn}", "egress": "${EgressBucket.Arn}"}[bucket]
    keys = [folder + "*" if folder.endswith("/") else folder for folder in folders]
    return sorted('{"Fn::Sub": "%s/%s"}' % (arn, key) for key in keys)


def table():
    """The README's table."""
    lines = ["| machine | may | for |", "| --- | --- | --- |"]
    for name, rights in (("every one", START), ("origin, transcoder", RECORDINGS), ("origin", ORIGIN), ("transcoder", TRANSCODER), ("edge", EDGE)):
        own = {right: why for right, why in rights.items() if rights is RECORDINGS or right not in RECORDINGS}
        lines += [f"| {name} | {right} | {why} |" for right, why in own.items()]
    return "\n".join(lines)
