"""The descriptor of topics: what Kafka takes, of events that exist, the same in both of its forms."""

import json
import re
from pathlib import Path

import pytest
import yaml

from functions._core.events.catalogue import BY_TYPE
from functions._core.events.envelope import TYPE_PREFIX
from infra.generate import topics as generate_topics
from infra.generate.topics import DAY_MS, FOLDER, TOPICS
from tests.conftest import ROOT

NUMBERS = {
    "plans.consensus": (12, 7),
    "execution.tickets": (12, 7),
    "execution.results": (12, 7),
    "code-forge.results": (6, 30),
    "orchestration.incidents": (6, 30),
    "insights.analyzed": (12, 7),
    "insights.strategic": (6, 30),
    "insights.operational": (12, 7),
    "telemetry.orchestration": (12, 14),
    "telemetry-flow-c": (3, 7),
}
"""Partitions, and days of retention."""


def test_the_topics_have_the_numbers_of_the_original() -> None:
    described = json.loads((FOLDER / "topics.json").read_text(encoding="utf-8"))["topics"]
    assert {topic["name"]: (topic["partitions"], topic["retention_days"]) for topic in described} == NUMBERS
    assert {topic["replicas"] for topic in described} == {3}


def test_compression_and_replicas_in_sync_are_said() -> None:
    found = {topic.name: (topic.compression, topic.min_insync_replicas) for topic in TOPICS}
    assert found.pop("telemetry-flow-c") == ("gzip", 2)
    assert (found.pop("insights.strategic"), found.pop("insights.operational")) == (("snappy", 2), ("snappy", 2))
    assert set(found.values()) == {("producer", 2)}


def test_every_topic_has_a_name_that_kafka_takes_and_events_that_exist_each_in_one_topic() -> None:
    types = [name for topic in TOPICS for name in topic.event_types]
    assert len(types) == len({*types})
    assert {*types} <= BY_TYPE.keys()
    for topic in TOPICS:
        assert re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", topic.name)
    described = json.loads((FOLDER / "topics.json").read_text(encoding="utf-8"))["topics"]
    assert all(name.startswith(TYPE_PREFIX) for topic in described for name in topic["event_types"])


def test_what_strimzi_gets_is_what_the_descriptor_says() -> None:
    described = json.loads((FOLDER / "topics.json").read_text(encoding="utf-8"))["topics"]
    resources = list(yaml.safe_load_all((FOLDER / "kafka.yaml").read_text(encoding="utf-8")))
    assert [resource["metadata"]["name"] for resource in resources] == [topic["name"] for topic in described]
    for resource, topic in zip(resources, described, strict=True):
        spec = resource["spec"]
        assert (spec["partitions"], spec["replicas"]) == (topic["partitions"], topic["replicas"])
        assert spec["config"]["retention.ms"] == topic["retention_days"] * DAY_MS
        assert spec["config"]["compression.type"] == topic["compression"]
        assert spec["config"]["min.insync.replicas"] == topic["min_insync_replicas"]


def test_the_files_are_as_the_code_makes_them_and_a_difference_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate_topics.main(["--check"]) == 0
    monkeypatch.setattr(generate_topics, "FOLDER", tmp_path)
    assert generate_topics.main([]) == 0
    (tmp_path / "kafka.yaml").write_text("none\n", encoding="utf-8")
    assert generate_topics.main(["--check"]) == 1
    assert capsys.readouterr().err == "infra/topics/kafka.yaml differs; run `make topics`\n"
    assert (ROOT / "infra" / "topics" / "topics.json").is_file()
