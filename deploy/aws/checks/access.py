"""Rules of who may do and see what: roles, buckets, queues, secrets, networks."""

import json
import re

from rights import ROLES, place
from rule import rule
from template import branches, config, items, properties, resources, statements, user_data, walk

# Resources that `*` may stand for in what allows something. None does; an entry here needs a reason.
STARS_ALLOWED = {}

# Ports that the whole world may connect to. None: encoders come from EncoderCidr, viewers by way of CloudFront.
OPEN_PORTS = set()

# Where machines may connect to anywhere: AWS, and Debian's mirrors.
OUTWARD_PORTS = {80, 443}

EVERYWHERE = ("0.0.0.0/0", "::/0")

CONDITION_OF_RIGHT = {"IngestExpires": " (when IngestDays)", "EgressExpires": " (when EgressDays)"}

ALL_PRIVATE = {"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"}


def as_list(value):
    return value if isinstance(value, list) else [value]


@rule("buckets-private")
def buckets_private(template):
    """Buckets are private in every way there is, encrypted, tidied, and outlive the stack."""
    for name, bucket in resources(template, "AWS::S3::Bucket"):
        if bucket["Type"] != "AWS::S3::Bucket":
            continue
        its = bucket["Properties"]
        block = its.get("PublicAccessBlockConfiguration", {})
        if {key for key, value in block.items() if value is True} != ALL_PRIVATE:
            yield f"{name} doesn't block all public access"
        if its.get("OwnershipControls") != {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}:
            yield f"{name} has objects that its owner doesn't own"
        rules = its.get("LifecycleConfiguration", {}).get("Rules", [])
        if not any("AbortIncompleteMultipartUpload" in one and one["Status"] == "Enabled" for one in rules):
            yield f"{name} keeps incomplete uploads for ever"
        if "BucketEncryption" not in its:
            yield f"{name} is not encrypted"
        if "WebsiteConfiguration" in its:
            yield f"{name} is a website"
        if (bucket.get("DeletionPolicy"), bucket.get("UpdateReplacePolicy")) != ("Retain", "Retain"):
            yield f"{name} goes with the stack"


@rule("no-acls")
def no_acls(template):
    """Nobody gets anything by an access control list."""
    for path, value in walk(template["Resources"]):
        if path[-1] in ("AccessControl", "Grants", "AccessControlPolicy"):
            yield "/".join(map(str, path))
        if path[-1] == "Action" and any("Acl" in str(action) for action in as_list(value)):
            yield f"{'/'.join(map(str, path))}: {value}"


@rule("tls-only")
def tls_only(template):
    """Every bucket and queue refuses whoever comes without TLS."""
    for kind, policy, key in (("S3::Bucket", "S3::BucketPolicy", "Bucket"), ("SQS::Queue", "SQS::QueuePolicy", "Queues")):
        guarded = set()
        for _, one in resources(template, f"AWS::{policy}"):
            for statement in one["Properties"]["PolicyDocument"]["Statement"]:
                insecure = statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}
                if statement["Effect"] == "Deny" and insecure and statement["Principal"] == "*":
                    guarded |= {target["Ref"] for target in as_list(one["Properties"][key])}
        for name, one in resources(template, f"AWS::{kind}"):
            if one["Type"] == f"AWS::{kind}" and name not in guarded:
                yield f"{name} may be spoken to without TLS"


@rule("queues")
def queues(template):
    """Queues are encrypted, and what can't be done ends in a queue for it."""
    all_ = [(name, one["Properties"]) for name, one in resources(template, "AWS::SQS::Queue") if one["Type"] == "AWS::SQS::Queue"]
    targets = [its["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0] for _, its in all_ if "RedrivePolicy" in its]
    for name, its in all_:
        if its.get("SqsManagedSseEnabled") is not True and "KmsMasterKeyId" not in its:
            yield f"{name} is not encrypted"
        if "RedrivePolicy" not in its and name not in targets:
            yield f"{name} has no queue for what can't be done"
        # A message also counts as received when a machine is taken away.
        if its.get("RedrivePolicy", {}).get("maxReceiveCount", 50) < 50:
            yield f"{name} gives up before Spot has had its way"
        if name in targets and "RedriveAllowPolicy" not in its:
            yield f"{name} takes dead messages of anybody's"


@rule("notifications")
def notifications(template):
    """The queue hears of uploads and of recordings that have ended, and of nothing else."""
    found = []
    for _, bucket in resources(template, "AWS::S3::Bucket"):
        for one in bucket["Properties"].get("NotificationConfiguration", {}).get("QueueConfigurations", []):
            filters = {it["Name"]: it["Value"] for it in one.get("Filter", {}).get("S3Key", {}).get("Rules", [])}
            found.append((one["Event"], filters))
    wanted = [{"prefix": "uploads/"}, {"prefix": "rec/", "suffix": "/ended.json"}]
    if found != [("s3:ObjectCreated:*", filters) for filters in wanted]:
        yield f"notifications are {found}"


@rule("services-are-ours")
def services_are_ours(template):
    """What a service of AWS's is allowed, it is allowed on behalf of this account's own resources."""
    for name, statement in statements(template):
        principal = statement.get("Principal")
        service = isinstance(principal, dict) and principal.get("Service")
        # Machines take their roles by their profiles, which name no source.
        if not service or service == "ec2.amazonaws.com":
            continue
        keys = {key.lower() for test in statement.get("Condition", {}).values() for key in test}
        wanted = {"s3.amazonaws.com": {"aws:sourcearn", "aws:sourceaccount"}, "cloudfront.amazonaws.com": {"aws:sourcearn"}}
        if not wanted.get(service, {"aws:sourceaccount"}) <= keys:
            yield f"{name}: {service} may act for anybody"


@rule("no-stars")
def no_stars(template):
    """Nothing is allowed on everything, to everybody, or by a pattern of actions."""
    for name, statement in statements(template):
        if statement["Effect"] != "Allow":
            continue
        for action in as_list(statement["Action"]):
            if "*" in action:
                yield f"{name} allows {action}"
        if "*" in as_list(statement.get("Resource", [])) and name not in STARS_ALLOWED:
            yield f"{name} allows {statement['Action']} on everything"
        if statement.get("Principal") in ("*", {"AWS": "*"}):
            yield f"{name} allows {statement['Action']} to everybody"
        if "NotAction" in statement or "NotResource" in statement or "NotPrincipal" in statement:
            yield f"{name} allows by exception"


@rule("rights")
def rights(template):
    """Each role has the rights in rights.py, on those resources, under those conditions; no more, no less."""
    roles = dict(resources(template, "AWS::IAM::Role"))
    if set(roles) != set(ROLES):
        yield f"roles are {sorted(roles)}"
    for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::User", "AWS::IAM::Group"):
        yield from (f"{name}: only roles have rights, and only their own" for name, _ in resources(template, kind))
    for name, role in roles.items():
        if "ManagedPolicyArns" in role["Properties"]:
            yield f"{name} has somebody else's policy"
        given = set()
        for policy in items(role["Properties"].get("Policies", [])):
            for entry in policy["PolicyDocument"]["Statement"]:
                condition = entry["Fn::If"][0] if "Fn::If" in entry else None
                for statement in branches(entry):
                    actions = frozenset(as_list(statement["Action"]))
                    places = sorted(json.dumps(it) for it in as_list(statement["Resource"]))
                    if "secretsmanager:GetSecretValue" in actions:
                        places = None
                    given.add((actions, json.dumps(places), condition))
        wanted = set()
        for right in ROLES.get(name, {}):
            condition = None
            for key, words in CONDITION_OF_RIGHT.items():
                if right.endswith(words):
                    condition, right = key, right.removesuffix(words)
            actions, where = right.split(" on ", 1)
            wanted.add((frozenset(actions.split(", ")), json.dumps(place(where)), condition))
        yield from (f"{name} may too much: {sorted(actions)} on {where} ({condition})" for actions, where, condition in given - wanted)
        yield from (f"{name} lacks {sorted(actions)} on {where} ({condition})" for actions, where, condition in wanted - given)


@rule("secrets")
def secrets(template):
    """Secrets are long, made by AWS, and reach only the machines whose configuration names them, never in user data."""
    for name, secret in resources(template, "AWS::SecretsManager::Secret"):
        if secret["Properties"].get("GenerateSecretString", {}).get("PasswordLength", 0) < 32 or "SecretString" in secret["Properties"]:
            yield f"{name} is not a long random text"
    for name, parameter in template["Parameters"].items():
        if re.search("secret|token|password|publishkey", name, re.I) or "NoEcho" in parameter:
            yield f"the parameter {name} looks like a secret"
    profiles = {name: it["Properties"]["Roles"][0]["Ref"] for name, it in resources(template, "AWS::IAM::InstanceProfile")}
    for name, _ in resources(template, "AWS::EC2::LaunchTemplate"):
        data, text = properties(template, name)["LaunchTemplateData"], user_data(template, name)
        if "resolve:" in text:
            yield f"{name} has a secret in its user data"
        fetched = dict(re.findall(r"(\w+)=\$\{(\w+)\}", re.search(r'SECRETS="(.*)"', text)[1]))
        used = set(re.findall(r"credential:secret_(\w+)", config(text)))
        if used != set(fetched) and "testsource" not in text.lower():
            yield f"{name} fetches {sorted(fetched)} and uses {sorted(used)}"
        role = profiles[data["IamInstanceProfile"]["Arn"]["Fn::GetAtt"][0]]
        may = [it["Ref"] for owner, one in statements(template) if owner == role and one["Action"] == "secretsmanager:GetSecretValue"
               for it in as_list(one["Resource"])]
        if sorted(may) != sorted(fetched.values()):
            yield f"{name} fetches {sorted(fetched.values())}, {role} may fetch {sorted(may)}"


@rule("closed-network")
def closed_network(template):
    """Nobody comes in from everywhere; outwards every group says where to."""
    for name, group in resources(template, "AWS::EC2::SecurityGroup"):
        its = group["Properties"]
        for one in items(its.get("SecurityGroupIngress", [])):
            world = one.get("CidrIp") in EVERYWHERE or one.get("CidrIpv6") in EVERYWHERE
            ports = set(range(one.get("FromPort", 0), one.get("ToPort", 65535) + 1))
            if world and not ports <= OPEN_PORTS:
                yield f"{name} is open to everybody at {one.get('FromPort')}"
            if one.get("IpProtocol") in ("-1", -1):
                yield f"{name} takes every protocol"
        if "SecurityGroupEgress" not in its:
            yield f"{name} may connect anywhere"
        for one in items(its.get("SecurityGroupEgress", [])):
            if one.get("CidrIp") in EVERYWHERE and one.get("FromPort") not in OUTWARD_PORTS:
                yield f"{name} may connect anywhere at {one.get('FromPort')}"


@rule("edges-hidden")
def edges_hidden(template):
    """Only CloudFront reaches the load balancer, and only that the edges; edges and transcoders have no public address."""
    for name, balancer in resources(template, "AWS::ElasticLoadBalancingV2::LoadBalancer"):
        if balancer["Properties"].get("Scheme") != "internal":
            yield f"{name} is public"
    for one in items(properties(template, "BalancerSecurity")["SecurityGroupIngress"]):
        if one.get("SourcePrefixListId") != {"Ref": "CloudFrontPrefixList"}:
            yield f"the load balancer is open to {one}"
    for one in items(properties(template, "EdgeSecurity")["SecurityGroupIngress"]):
        if one["FromPort"] <= 8088 <= one["ToPort"] and one.get("SourceSecurityGroupId") != {"Ref": "BalancerSecurity"}:
            yield f"edges are open to {one}"
    public = {"PublicSubnetA", "PublicSubnetB"}
    for name, group in resources(template, "AWS::AutoScaling::AutoScalingGroup"):
        if public & {subnet["Ref"] for subnet in group["Properties"]["VPCZoneIdentifier"]}:
            yield f"{name} stands in a public subnet"
    for name, one in resources(template, "AWS::EC2::Subnet"):
        if one["Type"] == "AWS::EC2::Subnet" and name not in public and one["Properties"].get("MapPublicIpOnLaunch"):
            yield f"{name} hands out public addresses"
    for name, route in resources(template, "AWS::EC2::Route"):
        if name.startswith("Private") and "GatewayId" in route["Properties"]:
            yield f"{name} leads to the internet both ways"
