#!/usr/bin/env python3
"""What the template's defaults cost: standing still, for an hour of a live stream, for a thousand viewer hours.

    cost.py            prints the tables
    cost.py --check    and fails if the README shows others; --fix puts them there

Sizes and counts come from the template; prices and habits are the assumptions below. Prices are us-east-1's list prices in
US dollars as remembered in 2026, without taxes, free tiers and agreements: put in your own before you rely on the sums.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "checks"))
from template import TEMPLATE, in_readme, parse, properties, resources  # noqa: E402

MONTH_H = 730

# Name: (dollars, of what). All from memory.
PRICES = {
    "c7i.2xlarge": (0.357, "hour, on demand"),
    "c7i.large": (0.0893, "hour, on demand"),
    "c7i.large Spot": (0.036, "hour, Spot, about 60 % off"),
    "Spot core": (0.018, "hour of a vCPU of a compute machine, Spot"),
    "disk": (0.08, "GB and month, gp3"),
    "address": (0.005, "hour of a public IPv4 address"),
    "NAT": (0.045, "hour of a NAT gateway"),
    "balancer": (0.0225, "hour of an ALB"),
    "balancer unit": (0.008, "LCU and hour: 1 GB"),
    "between zones": (0.02, "GB from one zone to another, both ends"),
    "alarm": (0.10, "month of an alarm's metric"),
    "monitoring": (2.10, "month of a machine's one-minute metrics"),
    "zone": (0.50, "month of a private DNS zone"),
    "secret": (0.40, "month of a secret"),
    "storage": (0.023, "GB and month, S3 Standard"),
    "put": (0.005 / 1000, "PUT to S3 (shown for 1)"),
    "CloudFront": (0.085, "GB to viewers, Europe and North America, the first 10 TB of a month"),
    "CloudFront request": (0.0100 / 10_000, "HTTPS request (shown for 1)"),
    "function": (0.10 / 1_000_000, "run of a CloudFront Function (shown for 1)"),
    "store read": (0.03 / 1_000_000, "read of a key value store (shown for 1)"),
}

# What is assumed of streams and viewers.
SOURCE_MBIT = 20.0
RUNGS_MBIT = [5.8, 2.3, 0.5]
SOUND_MBIT = 0.128
VOD_MBIT = [18.0, 11.0, 6.0, 2.3, 0.6]
SEGMENT_S = 2.0
PART_S = 0.5
VOD_CORES = 24.3 * 2
VIEWER_MBIT = 6.0
MISSES = 0.02
STORE_READS = 2

# The same in words.
ASSUMPTIONS = [
    ("the source", f"3840×1920, {SOURCE_MBIT:g} Mbit/s, to one origin; sound of {SOUND_MBIT * 1000:g} kbit/s"),
    ("rungs below it", "as `ladder` has them by default: " + ", ".join(f"{it:g}" for it in RUNGS_MBIT) + " Mbit/s"),
    ("the better ladder", "as `vod.ladder` has it for such a source: " + ", ".join(f"{it:g}" for it in VOD_MBIT) + " Mbit/s"),
    ("its work", f"{VOD_CORES:g} core seconds a second: 24.3 were measured for a 4K ladder of six rungs at veryfast; the "
     "default, medium, is taken to need twice as much"),
    ("files", f"segments of {SEGMENT_S:g} s, each a PUT; parts of {PART_S:g} s are not stored"),
    ("recordings", "everything is kept for one month"),
    ("edges and origins", "each edge follows all rungs; half of what edges pull crosses zones, twice, for two edges"),
    ("a viewer", f"{VIEWER_MBIT:g} Mbit/s on average, low latency: every {PART_S:g} s a part and a playlist, of picture and of sound"),
    ("CloudFront", f"asks edges for {MISSES:.0%} of what viewers ask for; the token function reads {STORE_READS} entries a request "
     "(without a token; with one, one)"),
    ("edges", "the fewest that there are suffice: a thousand viewers at once are 6 Gbit/s at CloudFront, 120 Mbit/s at edges"),
]


def price(name):
    return PRICES[name][0]


def gb(mbit, seconds=3600):
    return mbit * seconds / 8 / 1000


def standing(template):
    """Dollars an hour while nobody publishes or watches: what, how many, each an hour."""
    default = {name: it.get("Default") for name, it in template["Parameters"].items()}
    edges, on_demand = int(default["EdgesMin"]), int(default["EdgesOnDemand"])
    launch = {name: properties(template, name)["LaunchTemplateData"] for name in ("OriginATemplate", "EdgeTemplate")}
    disk = {name: it["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] for name, it in launch.items()}
    edge = properties(template, "Edges")["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"][0]["InstanceType"]
    nats = int(default["NatGateways"])
    metrics = sum(len(it["Properties"].get("Metrics", [1])) for _, it in resources(template, "AWS::CloudWatch::Alarm"))
    secrets = len(resources(template, "AWS::SecretsManager::Secret"))
    return [
        (f"origins, {default['OriginType']}, on demand", 2, price(default["OriginType"])),
        (f"edges, {edge}, on demand", on_demand, price(edge)),
        (f"edges, {edge}, Spot", edges - on_demand, price(f"{edge} Spot")),
        ("load balancer", 1, price("balancer")),
        ("NAT gateways", nats, price("NAT")),
        ("public addresses", 2 + nats, price("address")),
        ("disks, GB", 2 * disk["OriginATemplate"] + edges * disk["EdgeTemplate"], price("disk") / MONTH_H),
        ("one-minute metrics of machines", 2 + edges, price("monitoring") / MONTH_H),
        ("metrics of alarms", metrics, price("alarm") / MONTH_H),
        ("secrets", secrets, price("secret") / MONTH_H),
        ("private DNS zone", 1, price("zone") / MONTH_H),
    ]


def stream_hour():
    """Dollars for an hour of one live stream, beside what stands anyway."""
    instant = [SOURCE_MBIT, *RUNGS_MBIT, SOUND_MBIT]
    masters, watchable, better = gb(SOURCE_MBIT + SOUND_MBIT), gb(sum(instant)), gb(sum(VOD_MBIT) + SOUND_MBIT)
    segments = 3600 / SEGMENT_S
    puts = segments * (1 + len(instant) + len(VOD_MBIT) + 1)
    return [
        ("to the edges in the other zone, GB", gb(sum(instant)), price("between zones")),
        ("PUTs: master, recording, better ladder", puts, price("put")),
        ("better ladder, core hours", VOD_CORES, price("Spot core")),
        ("a month of the master, GB", masters, price("storage")),
        ("a month of the recording, GB", watchable, price("storage")),
        ("a month of the better ladder, GB", better, price("storage")),
    ]


def viewer_hours(hours=1000):
    """Dollars for so many viewer hours of low-latency HLS."""
    data = gb(VIEWER_MBIT) * hours
    # A part and a playlist of picture and of sound each.
    requests = 4 / PART_S * 3600 * hours
    return [
        ("CloudFront, GB", data, price("CloudFront")),
        ("CloudFront, requests", requests, price("CloudFront request")),
        ("token function", requests, price("function")),
        ("key value store, reads", requests * STORE_READS, price("store read")),
        ("load balancer, units", data * MISSES, price("balancer unit")),
    ]


def amount(count):
    return f"{count:,.0f}" if count >= 100 or count == int(count) else f"{count:,.1f}"


def table(title, rows):
    """A table of Markdown, and its sum."""
    total = sum(count * each for _, count, each in rows)
    lines = [f"| {title} | how much | $ |", "| --- | ---: | ---: |"]
    lines += [f"| {what} | {amount(count)} | {count * each:,.3f} |" for what, count, each in rows]
    lines += [f"| **together** | | **{total:,.2f}** |"]
    return "\n".join(lines), total


def report():
    template = parse(TEMPLATE.read_text())
    idle, idle_total = table("standing, an hour", standing(template))
    stream, stream_total = table("an hour of one stream, beside that", stream_hour())
    viewers, viewers_total = table("a thousand viewer hours", viewer_hours())
    hq = VOD_CORES * price("Spot core")
    prices = "\n".join(["| price | $ | for |", "| --- | ---: | --- |"]
                       + [f"| {name} | {each:.10f}".rstrip("0").rstrip(".") + f" | {what} |" for name, (each, what) in PRICES.items()])
    words = (
        f"An hour of one live stream costs **${idle_total + stream_total:.2f}**: ${idle_total:.2f} for what stands anyway (more streams share it), "
        f"${hq:.2f} for the better ladder, ${stream_total - hq:.2f} for the rest. A thousand viewer hours cost **${viewers_total:.0f}**, "
        f"of which {gb(VIEWER_MBIT) * 1000 * price('CloudFront') / viewers_total:.0%} is CloudFront's price for bytes."
    )
    assumed = "\n".join(["| assumed of | |", "| --- | --- |"] + [f"| {what} | {how} |" for what, how in ASSUMPTIONS])
    note = "Prices are us-east-1's list prices in US dollars from memory, without taxes, free tiers and agreements:"
    return "\n\n".join([words, idle, stream, viewers, assumed, note, prices])


def main():
    text, option = report(), sys.argv[1:]
    if not option:
        print(text)
    elif not in_readme("cost.py", text, fix=option == ["--fix"]):
        sys.exit("deploy/aws/README.md shows other costs than cost.py: scripts/check/aws.sh --fix")


if __name__ == "__main__":
    main()
