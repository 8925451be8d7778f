"""A plan refers to secrets by name; what fills them in touches nothing else, and masks let no value through."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions._core.decision.secret_references import find_secrets, values_at, with_secret
from functions._core.errors import Unavailable, Undeliverable
from functions._core.events.reports import LOG_LIMIT
from functions._core.masking import Mask
from functions._core.secrets import Secret, SecretUnavailable, unknown
from functions._engine.secret_places import task_places
from functions._engine.settings import Settings, SettingsError
from functions._engine.task_secrets import NamedTaskSecrets
from functions._worker.written import Written

VALUE = 'pass"word\nof the database ü'


class TestReferences:
    def test_references_are_found_at_any_depth_with_their_places(self) -> None:
        parameters = {"db": {"$secret": "db"}, "list": [1, {"a/b~c": {"$secret": "x.y-z"}}], "plain": "$secret"}
        found = find_secrets(parameters)
        assert {one.pointer: one.name for one in found} == {"/db": "db", "/list/1/a~1b~0c": "x.y-z"}
        assert find_secrets({"plain": ["$secret", {"secret": "db"}]}) == ()

    @pytest.mark.parametrize(
        "wrong",
        [{"$secret": 5}, {"$secret": ""}, {"$secret": "a b"}, {"$secret": "../x"}, {"$secret": "a" * 101}],
    )
    def test_what_is_no_name_is_a_fault(self, wrong: Mapping[str, Any]) -> None:
        [found] = find_secrets({"at": wrong})
        assert found.fault is not None
        assert (
            find_secrets({"at": {"$secret": "a", "path": "/x"}})[0].fault
            == "a reference to a secret holds '$secret' alone"
        )

    def test_the_parameters_as_a_whole_are_no_secret(self) -> None:
        assert find_secrets({"$secret": "a"})[0].fault == "the parameters as a whole cannot be a secret"

    def test_a_value_is_put_in_its_place_and_nothing_else_changes(self) -> None:
        planned: dict[str, Any] = {"a": [{"b": {"$secret": "x"}}], "rest": {"c": 1}}
        filled = with_secret(planned, ("a", 0, "b"), "value")
        assert filled == {"a": [{"b": "value"}], "rest": {"c": 1}}
        assert planned["a"] == [{"b": {"$secret": "x"}}]
        assert filled["rest"] is planned["rest"]

    def test_pointers_lead_to_values_and_strange_ones_to_nothing(self) -> None:
        parameters = {"a": ["x", {"b/c": "y"}], "n": 1}
        assert values_at(parameters, ["/a/0", "/a/1/b~1c"]) == ("x", "y")
        assert values_at(parameters, ["/a/7", "/a/x", "/n", "/n/0", "", "/a/-1", "/z/0", "/a/00"]) == ()


class Kept:
    """A place of secrets that can be away."""

    def __init__(self, **kept: str) -> None:
        self.kept, self.away, self.asked = kept, False, 0

    async def get(self, name: str) -> Secret:
        self.asked += 1
        if self.away:
            raise Unavailable("at /the/place: gone")
        if name not in self.kept:
            raise unknown("there is no file /the/place")
        return Secret(self.kept[name], "1")


class Watch:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment


class TestNamedSecrets:
    def named(self, setting: str, kept: Kept, watch: Watch) -> NamedTaskSecrets:
        return NamedTaskSecrets(task_places(setting), lambda _kind: kept, watch)

    async def test_a_tenant_has_its_own_and_those_for_all(self) -> None:
        kept = Kept(A="of all", B="of acme", C="c")
        secrets = self.named("db=env:A, acme/db=env:B, acme/only=env:C", kept, Watch())
        assert await secrets.value("db", None) == "of all"
        assert await secrets.value("db", "other") == "of all"
        assert await secrets.value("db", "acme") == "of acme"
        assert await secrets.value("only", "acme") == "c"
        for tenant_id in (None, "other"):
            with pytest.raises(Undeliverable, match="there is no secret 'only'") as refused:
                await secrets.value("only", tenant_id)
            assert refused.value.code == "unknown_secret"

    async def test_a_name_that_is_not_allowed_is_never_looked_for(self) -> None:
        kept = Kept(A="a")
        secrets = self.named("db=env:A", kept, Watch())
        for name in ("A", "env:A", "acme/db", "", "db "):
            with pytest.raises(Undeliverable):
                await secrets.value(name, "acme")
        assert kept.asked == 0

    async def test_a_value_is_remembered_for_a_minute_and_seen_anew_after_it(self) -> None:
        kept, watch = Kept(A="a"), Watch()
        secrets = self.named("db=env:A", kept, watch)
        assert [await secrets.value("db", None) for _ in range(3)] == ["a"] * 3
        assert kept.asked == 1
        kept.kept["A"], watch.moment = "b", watch.moment + timedelta(minutes=1)
        assert await secrets.value("db", None) == "b"

    async def test_a_place_that_is_away_is_asked_again_a_little_later(self) -> None:
        kept, watch = Kept(A="a"), Watch()
        kept.away = True
        secrets = self.named("db=env:A", kept, watch)
        for _ in range(3):
            with pytest.raises(SecretUnavailable) as away:
                await secrets.value("db", None)
            assert "/the/place" not in str(away.value)
        assert kept.asked == 1
        kept.away, watch.moment = False, watch.moment + timedelta(seconds=5)
        assert await secrets.value("db", None) == "a"

    async def test_a_failure_names_the_secret_and_not_its_place(self) -> None:
        with pytest.raises(Undeliverable) as refused:
            await self.named("db=file:/the/place", Kept(), Watch()).value("db", None)
        assert "'db'" in str(refused.value)
        assert "/the/place" not in str(refused.value)


@pytest.mark.parametrize("wrong", ["db", "db=", "=env:A", "a b=env:A", "db=env:", "db=env:A,db=env:B", "t/=env:A"])
def test_a_setting_that_is_wrong_is_refused_without_its_places(wrong: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_mapping({"FLOWC_TASK_SECRETS": wrong})
    assert "FLOWC_TASK_SECRETS" in str(refused.value)
    assert "env:A" not in str(refused.value)


class TestMask:
    def test_a_value_is_masked_as_it_is_as_json_has_it_and_line_by_line(self) -> None:
        mask = Mask([VALUE])
        for shown in (VALUE, json.dumps({"x": VALUE}), json.dumps([VALUE], ensure_ascii=False), "of the database ü"):
            masked = mask.text(f"before {shown} after")
            assert "word" not in masked
            assert "database" not in masked
            assert masked.startswith("before ")
            assert masked.endswith(" after")
        assert mask.json({"k": [VALUE, 1, None], f"x{VALUE}": True}) == {"k": ["***", 1, None], "x***": True}

    def test_short_values_and_none_mask_nothing(self) -> None:
        assert Mask(["a", "", "abc"]).text("a abc") == "a abc"
        assert Mask([]).data(b"abc", 1) == b"bc"

    def test_of_values_within_each_other_the_longer_one_goes(self) -> None:
        assert Mask(["token", "token-and-more"]).text("a token-and-more b token") == "a *** b ***"

    @pytest.mark.parametrize("before", range(0, 40, 7))
    def test_a_log_that_is_cut_anywhere_shows_no_part_of_a_value(self, before: int) -> None:
        secret = "correct-horse-battery-staple-0123456789"
        written = Written(Mask([secret]))
        text = ("x" * before + secret + "\n").encode()
        for start in range(0, len(text) * 5000, 977):
            whole = (text * 5001)[start : start + 977]
            written.add(whole)
        shown = written.text()
        assert len(shown) <= LOG_LIMIT
        parts = {secret[n : n + 8] for n in range(len(secret) - 7)}
        head = 977  # the last piece that was written may end within a value
        assert not any(part in shown[:-head] for part in parts)
