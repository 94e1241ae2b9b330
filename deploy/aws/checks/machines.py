"""Rules of machines, groups, alarms and CloudFront; and of what must not stand in the template at all."""

import re

from rule import rule
from template import FUNCTION, ROOT, items, properties, resources, user_data, walk

LEGACY = (
    "AWS::EC2::SpotFleet",
    "AWS::AutoScaling::LaunchConfiguration",
    "AWS::CloudFormation::WaitCondition",
    "AWS::CloudFront::CloudFrontOriginAccessIdentity",
)

# The query strings of low-latency HLS (RFC 8216bis, 6.2.5).
LL_HLS = ["_HLS_msn", "_HLS_part", "_HLS_skip"]

# Metrics that somebody must hear of.
WATCHED = {
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
    ("AWS/SQS", "ApproximateAgeOfOldestMessage"),
    ("AWS/ApplicationELB", "HTTPCode_Target_5XX_Count"),
    ("AWS/ApplicationELB", "HealthyHostCount"),
    ("AWS/EC2", "StatusCheckFailed_System"),
    ("AWS/EC2", "StatusCheckFailed_Instance"),
}

# Longest script that every machine runs, and longest that a tier adds, in lines without its configuration.
SCRIPT_LINES_MAX = 20

# What a machine does when it starts, in this order.
STEPS = (
    r"^set -Eeuo pipefail$",
    r"^trap .*signal FAILURE' ERR$",
    r"^sha256sum --check ",
    r" install /var/tmp/live360\.deb$",
    r"^systemctl enable --now ",
    r'^curl .* "\$READY"$',
    r"^signal SUCCESS$",
)


def leave_within():
    """How long the program takes to leave, in seconds, from its source."""
    source = (ROOT / "crates/service/src/shutdown.rs").read_text()
    return int(re.search(r"LEAVE_WITHIN: Duration = Duration::from_secs\((\d+)\)", source)[1])


@rule("no-legacy")
def no_legacy(template):
    """Nothing that AWS has given up: Spot Fleets, launch configurations, Spot prices, wait conditions."""
    for kind in LEGACY:
        yield from (f"{name} is of {kind}" for name, _ in resources(template, kind))
    yield from ("/".join(map(str, path)) for path, _ in walk(template["Resources"]) if path[-1] in ("SpotPrice", "SpotMaxPrice"))


@rule("imdsv2")
def imdsv2(template):
    """Metadata are told only to who asks with a token, from the machine itself; and there are no machines but from templates."""
    for name, one in resources(template, "AWS::EC2::LaunchTemplate"):
        options = one["Properties"]["LaunchTemplateData"].get("MetadataOptions", {})
        if options.get("HttpTokens") != "required":
            yield f"{name} tells metadata without a token"
        if options.get("HttpPutResponseHopLimit") != 1:
            yield f"{name} tells metadata to more than its own machine"
    for name, one in resources(template, "AWS::EC2::Instance"):
        if one["Type"] == "AWS::EC2::Instance" and set(one["Properties"]) != {"LaunchTemplate", "SubnetId"}:
            yield f"{name} is more than its launch template says"


@rule("disks-encrypted")
def disks_encrypted(template):
    """Every disk is encrypted, and there is no machine without a word on its disk."""
    for name, one in resources(template, "AWS::EC2::LaunchTemplate"):
        disks = one["Properties"]["LaunchTemplateData"].get("BlockDeviceMappings", [])
        if not disks or not all(disk["Ebs"].get("Encrypted") is True for disk in disks):
            yield f"{name} has a disk that is not encrypted"


@rule("groups")
def groups(template):
    """Groups are of mixed Spot where capacity is, replace what is at risk, and give machines the time that leaving takes."""
    for name, one in resources(template, "AWS::AutoScaling::AutoScalingGroup"):
        its, mixed = one["Properties"], one["Properties"].get("MixedInstancesPolicy")
        if not mixed or "LaunchTemplate" in its or "LaunchConfigurationName" in its:
            yield f"{name} is not mixed"
            continue
        if mixed["InstancesDistribution"].get("SpotAllocationStrategy") != "price-capacity-optimized":
            yield f"{name} buys Spot where it is scarce"
        if mixed["InstancesDistribution"].get("OnDemandPercentageAboveBaseCapacity") != 0:
            yield f"{name} is not Spot above its base"
        overrides = mixed["LaunchTemplate"].get("Overrides", [])
        if len(overrides) < 4 and not any("InstanceRequirements" in it for it in overrides):
            yield f"{name} has few kinds of machines to choose from"
        if its.get("CapacityRebalance") is not True:
            yield f"{name} waits until Spot takes machines"
        hooks = [it["Properties"] for _, it in resources(template, "AWS::AutoScaling::LifecycleHook")
                 if it["Properties"]["AutoScalingGroupName"] == {"Ref": name}]
        leaving = [it for it in hooks if it["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"]
        if not any(it["HeartbeatTimeout"] > leave_within() and it["DefaultResult"] == "CONTINUE" for it in leaving):
            yield f"{name} doesn't give its machines the {leave_within()} s to leave"
        if one.get("UpdatePolicy", {}).get("AutoScalingRollingUpdate", {}).get("WaitOnResourceSignals") is not True:
            yield f"{name} is updated without looking whether the new machines work"


@rule("scaling")
def scaling(template):
    """Edges grow with requests, transcoders from nothing with all messages there are."""
    policies = {name: it["Properties"] for name, it in resources(template, "AWS::AutoScaling::ScalingPolicy")}
    predefined = [(it["AutoScalingGroupName"]["Ref"], it["TargetTrackingConfiguration"]["PredefinedMetricSpecification"]["PredefinedMetricType"])
                  for it in policies.values() if "PredefinedMetricSpecification" in it.get("TargetTrackingConfiguration", {})]
    if ("Edges", "ALBRequestCountPerTarget") not in predefined:
        yield "edges don't grow with requests"
    if properties(template, "Transcoders").get("MinSize") != 0:
        yield "there are transcoders while there is nothing to do"
    backlog = [str(it) for it in policies.values() if "CustomizedMetricSpecification" in it.get("TargetTrackingConfiguration", {})]
    names = ("ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible", "GroupInServiceInstances")
    if not any(all(f"'{name}'" in text for name in names) for text in backlog):
        yield "transcoders don't grow with all the work there is for each"
    steps = {name for name, it in policies.items() if it["PolicyType"] == "StepScaling" and it["AutoScalingGroupName"] == {"Ref": "Transcoders"}}
    called = {action.get("Ref") for _, it in resources(template, "AWS::CloudWatch::Alarm") for action in it["Properties"].get("AlarmActions", [])}
    if not steps & called:
        yield "nobody asks for the first transcoder"


@rule("origins")
def origins(template):
    """Two origins, bought, in two zones, each with an address of its own, moved when its machine fails."""
    machines = [name for name, one in resources(template, "AWS::EC2::Instance")
                if one["Type"] == "AWS::EC2::Instance" and name.startswith("Origin")]
    zones = {str(properties(template, properties(template, name)["SubnetId"]["Ref"])["AvailabilityZone"]) for name in machines}
    if len(machines) != 2 or len(zones) != 2:
        yield f"origins are {machines} in {len(zones)} zones"
    addressed = {it["Properties"]["InstanceId"]["Ref"] for _, it in resources(template, "AWS::EC2::EIPAssociation")}
    rescued = {dimension["Value"].get("Ref") for _, it in resources(template, "AWS::CloudWatch::Alarm")
               if "ec2:recover" in str(it["Properties"].get("AlarmActions")) for dimension in it["Properties"]["Dimensions"]}
    for name in machines:
        template_name = properties(template, name)["LaunchTemplate"]["LaunchTemplateId"]["Ref"]
        if "InstanceMarketOptions" in properties(template, template_name)["LaunchTemplateData"]:
            yield f"{name} is Spot"
        if name not in addressed:
            yield f"{name} has no fixed address"
        if name not in rescued:
            yield f"{name} stays where its machine failed"


@rule("alarms-act")
def alarms_act(template):
    """Every alarm has somebody who hears of it, and what must be watched is."""
    watched = set()
    for name, one in resources(template, "AWS::CloudWatch::Alarm"):
        its = one["Properties"]
        if not its.get("AlarmActions"):
            yield f"nobody hears of {name}"
        if {"Ref": "Alarms"} in its.get("AlarmActions", []):
            watched.add((its.get("Namespace"), its.get("MetricName")))
    yield from (f"nobody watches {metric}" for metric in sorted(WATCHED - watched))


@rule("cache-keys")
def cache_keys(template):
    """Of a request only the path goes into a cache's key and to an origin; for live playlists LL-HLS's query strings too."""
    for name, one in resources(template, "AWS::CloudFront::CachePolicy"):
        its = one["Properties"]["CachePolicyConfig"]
        key = its["ParametersInCacheKeyAndForwardedToOrigin"]
        query = {"QueryStringBehavior": "whitelist", "QueryStrings": LL_HLS} if name == "LiveCache" else {"QueryStringBehavior": "none"}
        if key["QueryStringsConfig"] != query:
            yield f"{name} keys by {key['QueryStringsConfig']}"
        if key["HeadersConfig"] != {"HeaderBehavior": "none"} or key["CookiesConfig"] != {"CookieBehavior": "none"}:
            yield f"{name} keys by headers or cookies"
        if its["MinTTL"] != 0:
            yield f"{name} overrules what must not be kept"
    for name, _ in resources(template, "AWS::CloudFront::OriginRequestPolicy"):
        yield f"{name} forwards more than the key"


@rule("distribution")
def distribution(template):
    """Live from edges, recordings from the private bucket, both behind the token's function; modern protocols only."""
    its = properties(template, "Distribution")["DistributionConfig"]
    origins_ = {it["Id"]: it for it in its["Origins"]}
    behaviours = {it["PathPattern"]: it for it in its["CacheBehaviors"]}
    wanted = {"/hls/*": ("edges", "LiveCache"), "/vod/*.key": ("edges", "PageCache"),
              "/vod/*.m3u8": ("egress", "VodPlaylistCache"), "/vod/*": ("egress", "VodMediaCache")}
    found = {path: (it["TargetOriginId"], it["CachePolicyId"]["Ref"]) for path, it in behaviours.items()}
    # The order counts: the first that fits is taken.
    if list(found.items()) != list(wanted.items()):
        yield f"behaviours are {found}"
    for path, it in behaviours.items():
        if [one["EventType"] for one in it.get("FunctionAssociations", [])] != ["viewer-request"]:
            yield f"{path} is not behind the token's function"
    for it in [its["DefaultCacheBehavior"], *behaviours.values()]:
        if it["ViewerProtocolPolicy"] != "redirect-to-https" or "ForwardedValues" in it:
            yield f"{it.get('PathPattern', 'default')} is served without TLS, or by rules of old"
    if its["HttpVersion"] != "http2and3":
        yield f"it speaks {its['HttpVersion']}"
    own = its["ViewerCertificate"]["Fn::If"][1]
    if own.get("MinimumProtocolVersion") != "TLSv1.2_2021" or own.get("SslSupportMethod") != "sni-only":
        yield f"viewers may speak {own.get('MinimumProtocolVersion')}"
    if "OriginAccessControlId" not in origins_["egress"] or origins_["egress"]["S3OriginConfig"] != {"OriginAccessIdentity": ""}:
        yield "the bucket is read without origin access control"
    access = [it["Properties"]["OriginAccessControlConfig"] for _, it in resources(template, "AWS::CloudFront::OriginAccessControl")]
    if [(it["SigningBehavior"], it["SigningProtocol"]) for it in access] != [("always", "sigv4")]:
        yield "not every request to the bucket is signed"
    headers = [it["HeaderName"] for it in origins_["edges"].get("OriginCustomHeaders", [])]
    if headers != ["live360-cluster"]:
        yield f"edges don't know CloudFront: it sends {headers}"
    kept = {it["ErrorCode"]: it["ErrorCachingMinTTL"] for it in its.get("CustomErrorResponses", [])}
    for code in (404, 500, 502, 503, 504):
        if kept.get(code, 10) > 1:
            yield f"a {code} is kept for {kept.get(code, 10)} s"


@rule("function")
def function(template):
    """The template's function is viewer-token.js, and has the store."""
    its = properties(template, "ViewerToken")
    if its["FunctionCode"].strip() != FUNCTION.read_text().strip():
        yield "FunctionCode is not viewer-token.js: scripts/check/aws.sh --fix"
    if its["FunctionConfig"]["Runtime"] != "cloudfront-js-2.0" or not its["FunctionConfig"].get("KeyValueStoreAssociations"):
        yield "it has not the runtime or the store that it is written for"


@rule("start")
def start(template):
    """Machines check what they run, tell the stack whether it works, and do all that in few lines."""
    common = template["Mappings"]["Boot"]["Script"]["Text"]
    if len(common.splitlines()) > SCRIPT_LINES_MAX:
        yield f"the script has {len(common.splitlines())} lines"
    for name, _ in resources(template, "AWS::EC2::LaunchTemplate"):
        text = user_data(template, name)
        own = re.sub(r"<<'END'\n.*?^END$", "", text.removesuffix(common), flags=re.S | re.M)
        if not text.endswith(common) or len(own.splitlines()) > SCRIPT_LINES_MAX:
            yield f"{name} has a script of its own"
        lines = text.splitlines()
        order = [next((at for at, line in enumerate(lines) if re.search(step, line)), None) for step in STEPS]
        if None in order or order != sorted(order):
            yield f"{name} doesn't check, install, start, look and tell, in this order"
    for name in ("OriginA", "OriginB", "Edges"):
        if "ResourceSignal" not in template["Resources"][name].get("CreationPolicy", {}):
            yield f"the stack doesn't wait for {name}"


@rule("nothing-hard-coded")
def nothing_hard_coded(template):
    """No image, account, region or prefix list stands in it."""
    for path, value in walk(template):
        for text in items(value) if isinstance(value, (str, list)) else []:
            if not isinstance(text, str) or path[-1] == "Description" or "DashboardBody" in path or "FunctionCode" in path:
                continue
            found = re.search(r"\b(ami|pl|subnet|vpc|sg)-[0-9a-f]{6,}\b|\b[0-9]{12}\b|\b(us|eu|ap|sa|ca)-[a-z]+-[0-9]\b", text)
            if found:
                yield f"{'/'.join(map(str, path))}: {found[0]}"
