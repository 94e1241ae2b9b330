#!/usr/bin/env python3
"""Creates the template's stack at a stand-in for AWS, and prints what came of it as JSON: outputs, the configuration of each
kind of machine as its user data have it, the secrets that it names, and what its role allows.

    create.py http://127.0.0.1:4566
"""

import base64
import json
import re
import sys
import time

import boto3
from template import TEMPLATE, config

# What stands in for the parameters without a default; RealAws=no leaves out what stand-ins don't know.
PARAMETERS = {
    "PackageBucket": "packages",
    "PackageSha256": "0" * 64,
    "EncoderCidr": "203.0.113.0/24",
    "CloudFrontPrefixList": "pl-0",
    "ImageId": "/image",
    "RealAws": "no",
}

STACK = "live360"
DEADLINE_S = 30


def main(server):
    def client(name):
        return boto3.client(name, endpoint_url=server, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")

    client("ssm").put_parameter(Name="/image", Value="ami-0123456789abcdef0", Type="String")
    # As AWS wants it: what is longer than 51 200 bytes comes from a bucket.
    storage, stacks = client("s3"), client("cloudformation")
    storage.create_bucket(Bucket="packages")
    storage.put_object(Bucket="packages", Key="template.yaml", Body=TEMPLATE.read_bytes())
    parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in PARAMETERS.items()]
    url = f"{server}/packages/template.yaml"
    stacks.create_stack(StackName=STACK, TemplateURL=url, Parameters=parameters, Capabilities=["CAPABILITY_IAM"])
    deadline = time.monotonic() + DEADLINE_S
    while (stack := stacks.describe_stacks(StackName=STACK)["Stacks"][0])["StackStatus"].endswith("_IN_PROGRESS"):
        if time.monotonic() > deadline:
            sys.exit(f"the stack is still {stack['StackStatus']}")
        time.sleep(0.1)
    if stack["StackStatus"] != "CREATE_COMPLETE":
        sys.exit(f"the stack is {stack['StackStatus']}: {stack.get('StackStatusReason')}")
    made = stacks.list_stack_resources(StackName=STACK)["StackResourceSummaries"]
    # Of several machines of a kind (origins) the first one's configuration counts.
    made.sort(key=lambda one: one["LogicalResourceId"])
    configs, secrets, rights = {}, {}, {}
    for one in made:
        if one["ResourceType"] == "AWS::IAM::Role":
            policy = {"RoleName": one["PhysicalResourceId"], "PolicyName": "work"}
            if "work" in client("iam").list_role_policies(RoleName=policy["RoleName"])["PolicyNames"]:
                tier = one["LogicalResourceId"].removesuffix("Role").lower()
                rights[tier] = client("iam").get_role_policy(**policy)["PolicyDocument"]["Statement"]
        if one["ResourceType"] != "AWS::EC2::LaunchTemplate":
            continue
        versions = client("ec2").describe_launch_template_versions(LaunchTemplateId=one["PhysicalResourceId"])
        text = base64.b64decode(versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]["UserData"]).decode()
        configs.setdefault(re.search(r"^TIER=(\w+)", text, re.M)[1], config(text))
        for name, secret in re.findall(r"(\w+)=(\S+)", re.search(r'SECRETS="(.*)"', text)[1]):
            found = client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"]
            # Stand-ins don't know ExcludePunctuation.
            secrets[name] = re.sub(r"[^A-Za-z0-9]", "x", found)
    outputs = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
    print(json.dumps({"outputs": outputs, "configs": configs, "secrets": secrets, "rights": rights}))


if __name__ == "__main__":
    main(sys.argv[1])
