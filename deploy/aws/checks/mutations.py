"""Breaches planted one at a time: each must be found by the rule that it is listed under. A rule that finds none is no rule."""

from template import properties


def its(name, *path):
    """The value at a path below a resource's properties."""
    def find(template):
        value = properties(template, name)
        for step in path:
            value = value[step]
        return value
    return find


def put(name, *path, value):
    """Sets a property."""
    def change(template):
        its(name, *path[:-1])(template)[path[-1]] = value
    return change


def drop(name, *path):
    """Removes a property, or a member of a list."""
    def change(template):
        del its(name, *path[:-1])(template)[path[-1]]
    return change


def add(name, *path, value):
    """Adds a member to a list."""
    def change(template):
        its(name, *path)(template).append(value)
    return change


def remove(name):
    """Removes a resource."""
    def change(template):
        del template["Resources"][name]
    return change


def resource(kind, **its_properties):
    """Adds a resource."""
    def change(template):
        template["Resources"]["Planted"] = {"Type": kind, "Properties": its_properties}
    return change


def attribute(name, key, value=None):
    """Sets or removes what stands beside a resource's properties."""
    def change(template):
        if value is None:
            del template["Resources"][name][key]
        else:
            template["Resources"][name][key] = value
    return change


def script(old, new):
    """Changes the script that every machine runs."""
    def change(template):
        text = template["Mappings"]["Boot"]["Script"]["Text"]
        assert old in text
        template["Mappings"]["Boot"]["Script"]["Text"] = text.replace(old, new)
    return change


def user_data(name, old, new):
    """Changes a launch template's own part of the user data."""
    def change(template):
        parts = its(name, "LaunchTemplateData", "UserData", "Fn::Base64", "Fn::Join", 1)(template)
        assert old in parts[0]["Fn::Sub"]
        parts[0]["Fn::Sub"] = parts[0]["Fn::Sub"].replace(old, new)
    return change


def parameter(name, **it):
    """Adds a parameter."""
    def change(template):
        template["Parameters"][name] = {"Type": "String", **it}
    return change


STATEMENTS = ("PolicyDocument", "Statement")
START, WORK = ("Policies", 0, *STATEMENTS), ("Policies", 1, *STATEMENTS)
CONFIG = ("DistributionConfig",)
EVERYBODY = {"IpProtocol": "tcp", "FromPort": 1935, "ToPort": 1935, "CidrIp": "0.0.0.0/0"}
ALLOW = {"Effect": "Allow"}

MUTATIONS = {
    "no-legacy": [
        ("a Spot Fleet", resource("AWS::EC2::SpotFleet", SpotFleetRequestConfigData={})),
        ("a launch configuration", resource("AWS::AutoScaling::LaunchConfiguration")),
        ("a Spot price", put("Edges", "MixedInstancesPolicy", "InstancesDistribution", "SpotMaxPrice", value="0.05")),
        ("a wait condition", resource("AWS::CloudFormation::WaitCondition")),
    ],
    "imdsv2": [
        ("metadata without a token", put("EdgeTemplate", "LaunchTemplateData", "MetadataOptions", "HttpTokens", value="optional")),
        ("nothing said of metadata", drop("OriginATemplate", "LaunchTemplateData", "MetadataOptions")),
        ("metadata for containers", put("TranscoderTemplate", "LaunchTemplateData", "MetadataOptions", "HttpPutResponseHopLimit", value=2)),
        ("a machine without a template", put("OriginA", "ImageId", value="ami")),
    ],
    "disks-encrypted": [
        ("an open disk", put("OriginBTemplate", "LaunchTemplateData", "BlockDeviceMappings", 0, "Ebs", "Encrypted", value=False)),
        ("a disk as the image has it", drop("EdgeTemplate", "LaunchTemplateData", "BlockDeviceMappings")),
    ],
    "buckets-private": [
        ("a public policy is possible", put("EgressBucket", "PublicAccessBlockConfiguration", "BlockPublicPolicy", value=False)),
        ("one of the four is missing", drop("IngestBucket", "PublicAccessBlockConfiguration", "IgnorePublicAcls")),
        ("objects of others", put("IngestBucket", "OwnershipControls", "Rules", 0, "ObjectOwnership", value="ObjectWriter")),
        ("uploads for ever", drop("EgressBucket", "LifecycleConfiguration")),
        ("a disabled lifecycle", put("EgressBucket", "LifecycleConfiguration", "Rules", 0, "Status", value="Disabled")),
        ("no encryption", drop("IngestBucket", "BucketEncryption")),
        ("a website", put("EgressBucket", "WebsiteConfiguration", value={"IndexDocument": "index.html"})),
        ("masters go with the stack", attribute("IngestBucket", "DeletionPolicy")),
    ],
    "no-acls": [
        ("a public bucket as of old", put("EgressBucket", "AccessControl", value="PublicRead")),
        ("a right to open objects", add("OriginRole", *WORK, value={**ALLOW, "Action": "s3:PutObjectAcl", "Resource": "x"})),
    ],
    "tls-only": [
        ("a bucket without TLS", drop("IngestBucketPolicy", *STATEMENTS, 0)),
        ("a queue without TLS", remove("DeadJobsQueuePolicy")),
        ("a condition that never holds", put("EgressBucketPolicy", *STATEMENTS, 0, "Condition", value={"Bool": {"aws:SecureTransport": "true"}})),
    ],
    "queues": [
        ("no queue for the dead", drop("JobsQueue", "RedrivePolicy")),
        ("dead at the third machine", put("JobsQueue", "RedrivePolicy", "maxReceiveCount", value=3)),
        ("an open queue", drop("DeadJobsQueue", "SqsManagedSseEnabled")),
        ("everybody's dead", drop("DeadJobsQueue", "RedriveAllowPolicy")),
    ],
    "notifications": [
        ("every object", drop("IngestBucket", "NotificationConfiguration", "QueueConfigurations", 0, "Filter")),
        ("every segment", drop("IngestBucket", "NotificationConfiguration", "QueueConfigurations", 1, "Filter", "S3Key", "Rules", 1)),
        ("no recordings", drop("IngestBucket", "NotificationConfiguration", "QueueConfigurations", 1)),
    ],
    "services-are-ours": [
        ("anybody's bucket", drop("JobsQueuePolicy", *STATEMENTS, 0, "Condition")),
        ("anybody's account", drop("JobsQueuePolicy", *STATEMENTS, 0, "Condition", "StringEquals")),
        ("anybody's distribution", drop("EgressBucketPolicy", *STATEMENTS, 1, "Condition")),
        ("anybody's flow logs", drop("FlowLogRole", "AssumeRolePolicyDocument", "Statement", 0, "Condition")),
    ],
    "no-stars": [
        ("everything of a queue", add("TranscoderRole", *WORK, value={**ALLOW, "Action": "sqs:*", "Resource": "x"})),
        ("every address", add("OriginRole", *WORK, value={**ALLOW, "Action": "ec2:AssociateAddress", "Resource": "*"})),
        ("everybody reads", put("EgressBucketPolicy", *STATEMENTS, 1, "Principal", value="*")),
        ("all but one", add("EdgeRole", *WORK, value={**ALLOW, "Action": "s3:GetObject", "NotResource": "x"})),
    ],
    "rights": [
        ("an edge that writes", put("EdgeRole", *WORK, 0, "Action", value=["s3:GetObject", "s3:PutObject"])),
        ("an edge that reads masters", put("EdgeRole", *WORK, 0, "Resource", value={"Fn::Sub": "${IngestBucket.Arn}/rec/*"})),
        ("an origin that removes masters", lambda t: its("OriginRole", *WORK, 2, "Resource")(t).append({"Fn::Sub": "${IngestBucket.Arn}/rec/*"})),
        ("an origin that removes what is too old although nothing is", lambda t: put("OriginRole", *WORK, -1, value=its("OriginRole", *WORK, -1, "Fn::If", 1)(t))(t)),
        ("a transcoder that can't hold a job", lambda t: its("TranscoderRole", *WORK, -1, "Action")(t).remove("sqs:ChangeMessageVisibility")),
        ("somebody else's policy", put("EdgeRole", "ManagedPolicyArns", value=["arn:aws:iam::aws:policy/AmazonS3FullAccess"])),
        ("another role", resource("AWS::IAM::Role", AssumeRolePolicyDocument={"Statement": []})),
        ("a policy from elsewhere", resource("AWS::IAM::Policy", PolicyDocument={"Statement": []})),
        ("every stack is signalled", put("OriginRole", *START, 1, "Resource", value={"Fn::Sub": "arn:${AWS::Partition}:cloudformation:x"})),
    ],
    "secrets": [
        ("a short one", put("PublishKey", "GenerateSecretString", "PasswordLength", value=8)),
        ("one in the template", put("AdminToken", "SecretString", value="hunter2")),
        ("one as a parameter", parameter("AdminPassword", NoEcho=True)),
        ("one in user data", user_data("EdgeTemplate", "TIER=edge", "KEY={{resolve:secretsmanager:x}} TIER=edge")),
        ("an edge that may publish", lambda t: its("EdgeRole", *START, 2, "Resource")(t).append({"Ref": "PublishKey"})),
        ("one that nobody uses", user_data("TranscoderTemplate", 'SECRETS="', 'SECRETS="publish_key=${PublishKey} ')),
    ],
    "closed-network": [
        ("everybody publishes", add("OriginSecurity", "SecurityGroupIngress", value=EVERYBODY)),
        ("everybody by IPv6", add("OriginSecurity", "SecurityGroupIngress", value={"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIpv6": "::/0"})),
        ("every protocol", add("EdgeSecurity", "SecurityGroupIngress", value={"IpProtocol": -1, "CidrIp": {"Ref": "VpcCidr"}})),
        ("anywhere", drop("TranscoderSecurity", "SecurityGroupEgress")),
        ("anywhere by mail", add("EdgeSecurity", "SecurityGroupEgress", value={"IpProtocol": "tcp", "FromPort": 25, "ToPort": 25, "CidrIp": "0.0.0.0/0"})),
    ],
    "edges-hidden": [
        ("a public balancer", put("Balancer", "Scheme", value="internet-facing")),
        ("the balancer for the whole network", put("BalancerSecurity", "SecurityGroupIngress", 0, value={"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "CidrIp": {"Ref": "VpcCidr"}})),
        ("edges beside the balancer", put("EdgeSecurity", "SecurityGroupIngress", 0, value={"IpProtocol": "tcp", "FromPort": 8088, "ToPort": 8088, "CidrIp": {"Ref": "VpcCidr"}})),
        ("transcoders in the open", put("Transcoders", "VPCZoneIdentifier", value=[{"Ref": "PublicSubnetA"}])),
        ("public addresses for all", put("PrivateSubnetA", "MapPublicIpOnLaunch", value=True)),
        ("a way in", put("PrivateRouteB", "GatewayId", value={"Ref": "InternetGateway"})),
    ],
    "groups": [
        ("one kind of machine", drop("Edges", "MixedInstancesPolicy")),
        ("the cheapest Spot", put("Transcoders", "MixedInstancesPolicy", "InstancesDistribution", "SpotAllocationStrategy", value="lowest-price")),
        ("all bought", put("Edges", "MixedInstancesPolicy", "InstancesDistribution", "OnDemandPercentageAboveBaseCapacity", value=100)),
        ("two kinds", lambda t: its("Edges", "MixedInstancesPolicy", "LaunchTemplate", "Overrides")(t).__delitem__(slice(2, None))),
        ("no rebalancing", drop("Edges", "CapacityRebalance")),
        ("no hook", remove("TranscodersLeave")),
        ("a hook that is too short", put("EdgesLeave", "HeartbeatTimeout", value=90)),
        ("a hook of the start", put("EdgesLeave", "LifecycleTransition", value="autoscaling:EC2_INSTANCE_LAUNCHING")),
        ("blind updates", attribute("Edges", "UpdatePolicy")),
    ],
    "scaling": [
        ("edges by processor", put("EdgesByRequests", "TargetTrackingConfiguration", "PredefinedMetricSpecification", "PredefinedMetricType", value="ASGAverageCPUUtilization")),
        ("transcoders for nothing", put("Transcoders", "MinSize", value=1)),
        ("only what waits", drop("TranscodersByBacklog", "TargetTrackingConfiguration", "CustomizedMetricSpecification", "Metrics", 1)),
        ("never a first one", put("TranscodersWanted", "AlarmActions", value=[{"Ref": "Alarms"}])),
    ],
    "origins": [
        ("one origin", remove("OriginB")),
        ("one zone", put("PublicSubnetB", "AvailabilityZone", value={"Fn::Select": [0, {"Fn::GetAZs": ""}]})),
        ("a Spot origin", put("OriginATemplate", "LaunchTemplateData", "InstanceMarketOptions", value={"MarketType": "spot"})),
        ("an address that changes", remove("OriginAddressBAssociation")),
        ("no rescue", put("OriginAFailed", "AlarmActions", value=[{"Ref": "Alarms"}])),
    ],
    "alarms-act": [
        ("an alarm for nobody", put("NoEdge", "AlarmActions", value=[])),
        ("no word of dead jobs", lambda t: (remove("DeadJobs")(t), remove("JobsWaitLong")(t))),
        ("no word of errors", remove("EdgeErrors")),
    ],
    "cache-keys": [
        ("a live playlist without its part", put("LiveCache", "CachePolicyConfig", "ParametersInCacheKeyAndForwardedToOrigin", "QueryStringsConfig", "QueryStrings", value=["_HLS_msn"])),
        ("any query string", put("LiveCache", "CachePolicyConfig", "ParametersInCacheKeyAndForwardedToOrigin", "QueryStringsConfig", value={"QueryStringBehavior": "all"})),
        ("a copy for each viewer", put("LiveCache", "CachePolicyConfig", "ParametersInCacheKeyAndForwardedToOrigin", "HeadersConfig", value={"HeaderBehavior": "whitelist", "Headers": ["User-Agent"]})),
        ("old playlists", put("LiveCache", "CachePolicyConfig", "MinTTL", value=5)),
        ("everything is forwarded", resource("AWS::CloudFront::OriginRequestPolicy")),
    ],
    "distribution": [
        ("recordings before their playlists", lambda t: its("Distribution", *CONFIG, "CacheBehaviors")(t).reverse()),
        ("live from the bucket", put("Distribution", *CONFIG, "CacheBehaviors", 0, "TargetOriginId", value="egress")),
        ("recordings without tokens", drop("Distribution", *CONFIG, "CacheBehaviors", 3, "FunctionAssociations")),
        ("no TLS", put("Distribution", *CONFIG, "DefaultCacheBehavior", "ViewerProtocolPolicy", value="allow-all")),
        ("HTTP of old", put("Distribution", *CONFIG, "HttpVersion", value="http1.1")),
        ("TLS of old", put("Distribution", *CONFIG, "ViewerCertificate", "Fn::If", 1, "MinimumProtocolVersion", value="TLSv1.1_2016")),
        ("a bucket without access control", drop("Distribution", *CONFIG, "Origins", 1, "OriginAccessControlId")),
        ("unsigned requests", put("BucketAccess", "OriginAccessControlConfig", "SigningBehavior", value="no-override")),
        ("edges that don't know CloudFront", drop("Distribution", *CONFIG, "Origins", 0, "OriginCustomHeaders")),
        ("404 for ten seconds", drop("Distribution", *CONFIG, "CustomErrorResponses", 0)),
    ],
    "function": [
        ("another function", lambda t: put("ViewerToken", "FunctionCode", value=its("ViewerToken", "FunctionCode")(t).replace("signed", "sealed"))(t)),
        ("the runtime of old", put("ViewerToken", "FunctionConfig", "Runtime", value="cloudfront-js-1.0")),
        ("no store", drop("ViewerToken", "FunctionConfig", "KeyValueStoreAssociations")),
    ],
    "start": [
        ("whatever was downloaded", script("sha256sum --check", "true")),
        ("success, always", script('curl -fsS', "# curl -fsS")),
        ("success before anything", script("set -Eeuo pipefail\n", "set -Eeuo pipefail\nsignal SUCCESS\n")),
        ("errors are passed over", script("set -Eeuo pipefail", "set -u")),
        ("a script without end", script("set -Eeuo pipefail\n", "set -Eeuo pipefail\n" + "true\n" * 20)),
        ("nobody waits for the origin", attribute("OriginB", "CreationPolicy")),
        ("a start of its own", lambda t: its("EdgeTemplate", "LaunchTemplateData", "UserData", "Fn::Base64", "Fn::Join", 1)(t).pop()),
    ],
    "nothing-hard-coded": [
        ("an image", put("EdgeTemplate", "LaunchTemplateData", "ImageId", value="ami-0123456789abcdef0")),
        ("an account", put("Alarms", "TopicName", value="arn:aws:sns:x:123456789012:y")),
        ("a region", put("BucketEndpoint", "ServiceName", value="com.amazonaws.eu-west-1.s3")),
        ("a prefix list", put("BalancerSecurity", "SecurityGroupIngress", 0, "SourcePrefixListId", value="pl-3b927c52")),
    ],
}
