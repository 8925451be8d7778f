"""Writes `infra/topics/`: the topics that events stand for, as data and as Strimzi takes them; `--check` only compares.

Run as `python -m infra.generate.topics`. Flow C itself sends CloudEvents over HTTP. Who wants them in Kafka puts a
bridge behind the subscriber or the telemetry sink, such as Knative's KafkaSink, and makes these topics for it.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from functions._core.events.envelope import type_of
from functions._core.events.insights import ANALYZED, OPERATIONAL, STRATEGIC
from infra.generate.contract.folder import ROOT, differences, pretty, write

FOLDER = ROOT / "infra" / "topics"
DAY_MS = 86_400_000
CLUSTER = "my-cluster"
SNAPPY = "snappy"

MADE = "Made by `make topics`; do not edit."


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic and the events that it carries, by their types; the key of a message is its `partitionkey`."""

    name: str
    partitions: int
    retention_days: int
    event_types: tuple[str, ...]
    replicas: int = 3
    min_insync_replicas: int = 2
    compression: str = "producer"
    """`producer` keeps what the sender has chosen."""

    @property
    def settings(self) -> Mapping[str, int | str]:
        """The settings of Kafka."""
        return {
            "cleanup.policy": "delete",
            "compression.type": self.compression,
            "min.insync.replicas": self.min_insync_replicas,
            "retention.ms": self.retention_days * DAY_MS,
        }


TOPICS: Sequence[Topic] = (
    Topic(name="plans.consensus", partitions=12, retention_days=7, event_types=("decision.consolidated",)),
    Topic(
        name="execution.tickets",
        partitions=12,
        retention_days=7,
        event_types=("ticket.assigned", "ticket.ready", "ticket.cancelled"),
    ),
    Topic(name="execution.results", partitions=12, retention_days=7, event_types=("ticket.completed", "ticket.failed")),
    Topic(name="code-forge.results", partitions=6, retention_days=30, event_types=("code-forge.results",)),
    Topic(name="orchestration.incidents", partitions=6, retention_days=30, event_types=("incident.raised",)),
    Topic(name="insights.analyzed", partitions=12, retention_days=7, event_types=(ANALYZED,)),
    Topic(name="insights.strategic", partitions=6, retention_days=30, compression="snappy", event_types=(STRATEGIC,)),
    Topic(
        name="insights.operational", partitions=12, retention_days=7, compression="snappy", event_types=(OPERATIONAL,)
    ),
    Topic(name="telemetry.orchestration", partitions=12, retention_days=14, event_types=("telemetry.frame",)),
    Topic(
        name="telemetry-flow-c",
        partitions=3,
        retention_days=7,
        compression="gzip",
        event_types=("flow.step.completed",),
    ),
)
"""The topics of the systems that exist; the numbers are those of the original."""


def descriptor() -> str:
    """Return the topics as JSON, for any tool."""
    topics = [{**asdict(topic), "event_types": [type_of(name) for name in topic.event_types]} for topic in TOPICS]
    return pretty({"description": MADE, "key": "partitionkey", "topics": topics}) + "\n"


def kafka() -> str:
    """Return the topics as resources of Strimzi, the operator of Kafka on Kubernetes."""
    head = f"# {MADE} For the namespace of Kafka; the label names its cluster.\n"
    return head + "---\n".join(map(_kafka_topic, TOPICS))


def _kafka_topic(topic: Topic) -> str:
    settings = "".join(f"    {name}: {value}\n" for name, value in topic.settings.items())
    return f"""\
apiVersion: kafka.strimzi.io/v1beta2
kind: KafkaTopic
metadata:
  name: {topic.name}
  labels:
    strimzi.io/cluster: {CLUSTER}
spec:
  topicName: {topic.name}
  partitions: {topic.partitions}
  replicas: {topic.replicas}
  config:
{settings}"""


def files() -> Mapping[str, str]:
    """Return the text of every file in the folder by its name."""
    return {"topics.json": descriptor(), "kafka.yaml": kafka()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with `--check` return 1 and name those that differ."""
    parser = argparse.ArgumentParser(prog="generate_topics", description="Write infra/topics.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a file differs")
    if not parser.parse_args(arguments).check:
        removed = write(FOLDER, files())
        sys.stderr.writelines(f"{FOLDER.name}/{name} belonged to nothing and was removed\n" for name in removed)
        return 0
    drift = [f"infra/topics/{difference}" for difference in differences(FOLDER, files())]
    sys.stderr.writelines(f"{line}; run `make topics`\n" for line in drift)
    return 1 if drift else 0


if __name__ == "__main__":
    sys.exit(main())
