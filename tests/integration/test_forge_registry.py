"""Packages in a registry: pushed once by their digests, taken back, and nothing of what a registry says believed."""

import asyncio
import gzip
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions._executors.forge import registry as registry_module
from functions._executors.forge.registry import RegistryApi
from functions._executors.port import CallFailed
from functions._executors.settings import ExecutorSettings
from tests.support.forge_packages import CHART, LIBRARY, SERVICE, PackageDesk, by_kind, read_layout
from tests.support.loopback import Answer, Loopback, Request, until
from tests.support.real_registry import real_registry
from tests.support.registry_api import PASSWORD, USER, RegistryServer, digest

IMAGE = {"Dockerfile": 'FROM scratch\nCMD ["x"]\n', "app.py": "x = 1\n"}
"""A project that no program has to build."""


@pytest.fixture
async def server() -> AsyncIterator[RegistryServer]:
    async with RegistryServer() as running:
        yield running


@pytest.fixture
def desk(tmp_path: Path, server: RegistryServer) -> PackageDesk:
    return PackageDesk(tmp_path, WORKER_FORGE_REGISTRY_URL=f"{server.url}/team")


def api_of(server: RegistryServer, **more: str) -> RegistryApi:
    environment = {"WORKER_FORGE_REGISTRY_URL": server.url} | {f"WORKER_FORGE_REGISTRY_{k}": v for k, v in more.items()}
    return RegistryApi(ExecutorSettings.from_environment(environment))


class TestPushing:
    async def test_the_registry_holds_each_artifact_by_its_digest(
        self, desk: PackageDesk, server: RegistryServer
    ) -> None:
        output = await desk.run(SERVICE, "service", version="1.2.0+b1")
        made = by_kind(output)
        places = {"wheel": "acme/shop/wheel", "sdist": "acme/shop/sdist", "chart": "charts/shop", "image": "acme/shop"}
        for kind, place in places.items():
            there = server.repositories[f"team/{place}"]
            known = there.tags["1.2.0_b1"]
            assert made[kind]["location"] == f"{server.host}/team/{place}@{known}"
            manifest = json.loads(there.manifests[known][0])
            assert all(one["digest"] in there.blobs for one in (manifest["config"], *manifest["layers"]))
        assert sorted(output["pushed"]) == sorted(one["location"] for one in made.values())
        image = server.repositories["team/acme/shop"]
        assert image.tags["1.2.0_b1"] == made["image"]["checksum"], "the manifest of the layout is that of the registry"
        wheel = server.repositories["team/acme/shop/wheel"]
        manifest = json.loads(wheel.manifests[wheel.tags["1.2.0_b1"]][0])
        assert manifest["layers"][0]["digest"] == made["wheel"]["checksum"]
        name = manifest["layers"][0]["annotations"]["org.opencontainers.image.title"]
        assert name == made["wheel"]["name"], "as ORAS names a file"

    async def test_a_chart_is_as_helm_pushes_it(self, desk: PackageDesk, server: RegistryServer) -> None:
        made = by_kind(await desk.run(CHART, version="2.0.0"))
        there = server.repositories["team/charts/shop"]
        manifest = json.loads(there.manifests[there.tags["2.0.0"]][0])
        assert manifest["config"]["mediaType"] == "application/vnd.cncf.helm.config.v1+json"
        assert json.loads(there.blobs[manifest["config"]["digest"]])["version"] == "2.0.0"
        (layer,) = manifest["layers"]
        assert layer["mediaType"] == "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
        assert layer["digest"] == made["chart"]["checksum"]

    async def test_a_worker_that_comes_after_pushes_nothing_twice(
        self, desk: PackageDesk, server: RegistryServer
    ) -> None:
        first = await desk.run(IMAGE)
        before = json.dumps([sorted(one.manifests) for one in server.repositories.values()])
        server.requests.clear()
        again = await desk.run(IMAGE, attempt=2)
        assert again["pushed"] == first["pushed"], "what the pipeline has pushed is its own, whoever asks"
        assert (server.asked("PUT"), server.asked("POST")) == ([], [])
        assert json.dumps([sorted(one.manifests) for one in server.repositories.values()]) == before

    @pytest.mark.parametrize("calls", [0, 4, 9, 10, 11])
    async def test_a_worker_that_is_killed_anywhere_between_is_followed_by_one_that_ends_the_same(
        self, desk: PackageDesk, server: RegistryServer, calls: int
    ) -> None:
        answer, left, dead = server.answer, calls, asyncio.Event()

        async def until_killed(request: Request) -> Answer:
            nonlocal left
            left -= 1
            if left < 0:  # whoever asked does nothing any more
                await dead.wait()
                return Answer(503)
            return await answer(request)

        server.answer = until_killed
        killed = asyncio.create_task(desk.run(IMAGE))
        await until(lambda: left < 0, "a call that is never answered")
        server.answer = answer
        output = await desk.run(IMAGE, attempt=2)
        (place,) = output["pushed"]
        assert place == output["artifacts"][0]["location"]
        there = server.repositories["team/acme/shop"]
        assert (len(there.manifests), min(there.tags), len(there.tags)) == (1, "0.1.0", 2)
        killed.cancel()
        await asyncio.gather(killed, return_exceptions=True)
        dead.set()

    async def test_a_version_that_is_there_with_another_content_is_refused(
        self, desk: PackageDesk, server: RegistryServer
    ) -> None:
        await desk.run(IMAGE)
        failed = await desk.failure({**IMAGE, "app.py": "x = 2\n"}, flow_id="flow-2")
        assert (failed.kind, failed.retryable) == ("version_taken", False)
        assert f"{server.host}/team/acme/shop:0.1.0 is there with another content" in failed.message

    async def test_what_another_pipeline_has_pushed_is_not_this_ones_to_take_back(self, desk: PackageDesk) -> None:
        first = await desk.run(IMAGE)
        second = await desk.run(IMAGE, flow_id="flow-2")
        assert second["artifacts"][0]["location"] == first["artifacts"][0]["location"]
        assert (len(first["pushed"]), second["pushed"]) == (1, [])

    async def test_where_one_thing_cannot_be_pushed_nothing_stays(
        self, desk: PackageDesk, server: RegistryServer
    ) -> None:
        server.repository("team/acme/shop").tags["0.1.0"] = server.put_image("team/acme/shop", [b"other"], {})
        failed = await desk.failure({**CHART, **IMAGE})
        assert failed.kind == "version_taken"
        assert server.repositories["team/charts/shop"].manifests == {}

    async def test_a_registry_in_trouble_is_asked_again(self, desk: PackageDesk, server: RegistryServer) -> None:
        server.faults.extend([Answer(503), None, Answer(429, b"", {"retry-after": "0"})])
        assert len((await desk.run(IMAGE))["pushed"]) == 1
        server.faults.extend([Answer(503)] * 3)
        failed = await desk.failure(IMAGE)
        assert (failed.kind, failed.retryable) == ("unexpected_status", True)

    async def test_a_large_blob_goes_in_parts(
        self, server: RegistryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(registry_module, "CHUNK", 1_000)
        data = os.urandom(3_500)
        (tmp_path / "blob").write_bytes(data)
        api = api_of(server)
        await api.put_blob("shop", digest(data), tmp_path / "blob")
        assert server.repositories["shop"].blobs == {digest(data): data}
        assert (len(server.asked("PATCH")), len(server.asked("PUT"))) == (3, 1)
        await api.put_blob("shop", digest(data), data)
        assert len(server.asked("POST")) == 1, "one that is there is not sent again"
        assert await api.get_blob("shop", digest(data), len(data)) == data
        await api.aclose()

    async def test_without_a_registry_everything_is_in_the_store_alone(self, tmp_path: Path) -> None:
        output = await PackageDesk(tmp_path).run(IMAGE)
        assert output["pushed"] == []
        assert output["artifacts"][0]["location"].startswith("file://")


class TestCompensation:
    async def test_what_was_pushed_is_taken_away_again(self, desk: PackageDesk, server: RegistryServer) -> None:
        pushed = (await desk.run({**CHART, **IMAGE}))["pushed"]
        gone = await desk.run(task_type="COMPENSATE", pushed=pushed)
        assert (sorted(gone["removed"]), gone["absent"]) == (sorted(pushed), [])
        assert [one.manifests for one in server.repositories.values()] == [{}, {}]
        again = await desk.run(task_type="COMPENSATE", pushed=pushed)
        assert (again["removed"], sorted(again["absent"])) == ([], sorted(pushed))
        assert len((await desk.run({**CHART, **IMAGE}))["pushed"]) == 2, "it can be made again"

    async def test_nothing_was_pushed(self, tmp_path: Path) -> None:
        gone = await PackageDesk(tmp_path).run(task_type="COMPENSATE", pushed=[])
        assert (gone["removed"], gone["absent"]) == ([], [])

    async def test_a_registry_that_lets_nothing_be_deleted_is_named(
        self, desk: PackageDesk, server: RegistryServer
    ) -> None:
        pushed = (await desk.run(IMAGE))["pushed"]
        server.deletes = False
        failed = await desk.failure(task_type="COMPENSATE", pushed=pushed)
        assert (failed.kind, failed.retryable) == ("deletion_forbidden", False)
        assert failed.message == f"the registry does not let the worker delete (405): {pushed[0]} stays"

    @pytest.mark.parametrize(
        "reference",
        [
            "evil.example/team/acme/shop@sha256:" + "0" * 64,
            "{host}/other/shop@sha256:" + "0" * 64,
            "{host}/team/../other@sha256:" + "0" * 64,
            "{host}/team/shop:0.1.0",
            "{host}/team/shop@sha256:x",
            "{host}/teamwork/shop@sha256:" + "0" * 64,
        ],
    )
    async def test_nothing_but_the_owners_own_is_removed(
        self, desk: PackageDesk, server: RegistryServer, reference: str
    ) -> None:
        failed = await desk.failure(task_type="COMPENSATE", pushed=[reference.format(host=server.host)])
        assert failed.kind in {"not_allowed", "bad_parameters"}
        assert server.asked("DELETE") == []

    @pytest.mark.parametrize("stranger", [{"flow_id": "flow-2"}, {"artifact_id": "acme/other"}])
    async def test_a_plan_that_names_what_another_pipeline_has_pushed_removes_nothing(
        self, desk: PackageDesk, server: RegistryServer, stranger: dict[str, Any]
    ) -> None:
        pushed = (await desk.run({**CHART, **IMAGE}))["pushed"]
        failed = await desk.failure(task_type="COMPENSATE", pushed=pushed, **stranger)
        assert (failed.kind, failed.retryable) == ("not_allowed", False)
        assert server.asked("DELETE") == []


class TestSigningIn:
    @pytest.mark.parametrize("auth", ["basic", "token", "bearer"])
    async def test_a_worker_proves_itself_as_the_registry_asks(self, server: RegistryServer, auth: str) -> None:
        server.auth = auth
        api = api_of(server, TOKEN=PASSWORD, **({} if auth == "bearer" else {"USER": USER}))
        await api.put_blob("shop", digest(b"x"), b"x")
        assert server.repositories["shop"].blobs == {digest(b"x"): b"x"}
        if auth == "token":
            (asked,) = [one for one in server.requests if one.path == "/token"]
            assert asked.query == {"service": "registry", "scope": "repository:shop:pull,push"}
        await api.aclose()

    @pytest.mark.parametrize("auth", ["basic", "token", "bearer"])
    async def test_a_wrong_password_is_said_and_not_repeated(self, server: RegistryServer, auth: str) -> None:
        server.auth = auth
        api = api_of(server, TOKEN="wrong-password", **({} if auth == "bearer" else {"USER": USER}))
        with pytest.raises(CallFailed) as refused:
            await api.put_blob("shop", digest(b"x"), b"x")
        assert not refused.value.transient
        assert "wrong-password" not in str(refused.value)
        assert len(server.requests) <= 3
        await api.aclose()

    @pytest.mark.parametrize(
        "realm", ["http://127.0.0.1:{port}/token", "https://evil.example/token", "file:///etc", "//"]
    )
    async def test_a_password_goes_to_no_host_that_its_owner_does_not_name(
        self, server: RegistryServer, realm: str
    ) -> None:
        async with Loopback() as thief:
            server.auth, server.realm = "token", realm.format(port=thief.port)
            api = api_of(server, USER=USER, TOKEN=PASSWORD)
            with pytest.raises(CallFailed) as refused:
                await api.put_blob("shop", digest(b"x"), b"x")
            assert (refused.value.kind, refused.value.transient) == ("foreign_location", False)
            assert "WORKER_FORGE_REGISTRY_HOSTS" in str(refused.value)
            assert thief.requests == []
            await api.aclose()

    async def test_a_service_of_tokens_that_its_owner_names_is_asked(self, server: RegistryServer) -> None:
        async with RegistryServer() as service:
            server.auth, server.realm = "token", f"{service.url}/token"
            api = api_of(server, USER=USER, TOKEN=PASSWORD, HOSTS=f"auth.example, {service.host}")
            await api.put_blob("shop", digest(b"x"), b"x")
            assert [one.path for one in service.requests] == ["/token"]
            await api.aclose()


class TestHostileRegistries:
    async def refused(self, server: RegistryServer, call: Any) -> CallFailed:
        api = api_of(server, USER=USER, TOKEN=PASSWORD)
        with pytest.raises(CallFailed) as refused:
            await call(api)
        await api.aclose()
        return refused.value

    async def test_an_upload_stays_on_its_server(self, server: RegistryServer) -> None:
        async with Loopback() as thief:
            server.faults.extend([Answer(404), Answer(202, b"", {"location": f"{thief.url}/upload"})])
            failed = await self.refused(server, lambda api: api.put_blob("shop", digest(b"x"), b"x"))
            assert (failed.kind, thief.requests) == ("foreign_location", [])

    @pytest.mark.parametrize(
        "location", ["http://169.254.169.254/x", "https://evil.example/x", "ftp://x/y", "http://["]
    )
    async def test_a_blob_comes_from_no_other_place(self, server: RegistryServer, location: str) -> None:
        server.faults.append(Answer(307, b"", {"location": location}))
        failed = await self.refused(server, lambda api: api.get_blob("shop", digest(b"x"), 1))
        assert failed.kind == "foreign_location"

    async def test_a_blob_comes_from_a_host_that_its_owner_names_without_a_password(
        self, server: RegistryServer
    ) -> None:
        async with Loopback() as store:

            async def answer(_: Request) -> Answer:
                return Answer(200, b"x")

            store.answer = answer
            server.faults.append(Answer(307, b"", {"location": f"{store.url}/blob"}))
            api = api_of(server, USER=USER, TOKEN=PASSWORD, HOSTS=f"127.0.0.1:{store.port}")
            assert await api.get_blob("shop", digest(b"x"), 1) == b"x"
            assert "authorization" not in store.requests[0].headers
            await api.aclose()

    async def test_redirects_have_an_end(self, server: RegistryServer) -> None:
        server.faults.extend([Answer(307, b"", {"location": "/v2/shop/blobs/again"})] * 9)
        failed = await self.refused(server, lambda api: api.get_blob("shop", digest(b"x"), 1))
        assert failed.kind == "unexpected_status"
        assert len(server.requests) == 4

    @pytest.mark.parametrize("data", [b"y", b"xx", b"", b"x" * 100_000])
    async def test_a_blob_of_another_digest_is_refused(self, server: RegistryServer, data: bytes) -> None:
        server.repository("shop").blobs[digest(b"x")] = data
        failed = await self.refused(server, lambda api: api.get_blob("shop", digest(b"x"), 1))
        assert (failed.kind, failed.transient) == ("digest_mismatch", False)

    async def test_a_manifest_of_another_digest_is_refused(self, server: RegistryServer) -> None:
        server.repository("shop").manifests[digest(b"x")] = (b"{}", "application/json")
        failed = await self.refused(server, lambda api: api.manifest("shop", digest(b"x")))
        assert failed.kind == "digest_mismatch"

    async def test_a_manifest_has_a_bound(self, server: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registry_module, "MANIFEST_BYTES", 1_000)
        server.repository("shop").manifests["big"] = (b"x" * 1_001, "application/json")
        failed = await self.refused(server, lambda api: api.manifest("shop", "big"))
        assert failed.kind == "digest_mismatch"

    async def test_a_registry_that_takes_a_manifest_for_another_is_refused(self, server: RegistryServer) -> None:
        server.faults.append(Answer(201, b"", {"docker-content-digest": digest(b"other")}))
        failed = await self.refused(server, lambda api: api.put_manifest("shop", "1", b"{}", "application/json"))
        assert failed.kind == "digest_mismatch"

    async def test_a_blob_of_another_size_is_not_taken_for_one_that_is_there(self, server: RegistryServer) -> None:
        server.repository("shop").blobs[digest(b"x")] = b"longer"
        failed = await self.refused(server, lambda api: api.put_blob("shop", digest(b"x"), b"x"))
        assert failed.kind == "digest_mismatch"

    async def test_a_registry_that_forgets_what_it_was_given_is_found(
        self, desk: PackageDesk, server: RegistryServer
    ) -> None:
        answer = server.answer

        async def forgetful(request: Request) -> Answer:
            said = await answer(request)
            if request.method == "PUT" and "/manifests/" in request.path:
                server.repositories["team/acme/shop"].manifests.clear()
            return said

        server.answer = forgetful
        failed = await desk.failure(IMAGE)
        assert (failed.kind, failed.retryable) == ("digest_mismatch", False)


def layer_of(name: str) -> tuple[bytes, str]:
    """Return a layer with one file, and the digest of what it unpacks to."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        about = tarfile.TarInfo(name)
        about.size = 4
        archive.addfile(about, io.BytesIO(b"base"))
    return gzip.compress(content.getvalue(), mtime=0), digest(content.getvalue())


class TestBases:
    """An image is made from the owner's base, pulled by its digest."""

    def put_base(self, server: RegistryServer, **changes: Any) -> str:
        layer, diff_id = layer_of("usr/bin/python3")
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/usr/bin", "LANG=C.UTF-8"], "Cmd": ["python3"], "Labels": {"a": "b"}},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            **changes,
        }
        docker = "application/vnd.docker.image.rootfs.diff.tar.gzip"
        return server.put_image("library/python", [layer], config, layer=docker)

    def desk_with(self, folder: Path, server: RegistryServer, known: str) -> PackageDesk:
        base = f"{server.host}/library/python@{known}"
        return PackageDesk(folder, WORKER_FORGE_BASE_IMAGE=base, WORKER_FORGE_BASE_REGISTRY_URL=server.url)

    async def test_an_image_has_the_layers_of_its_base(self, tmp_path: Path, server: RegistryServer) -> None:
        desk = self.desk_with(tmp_path, server, self.put_base(server))
        made = by_kind(await desk.run({**LIBRARY, "Dockerfile": "FROM python\n"}))
        manifest, config, (base, own) = read_layout(desk.content(made["image"]))
        assert (base["usr/bin/python3"], "app/shop/__init__.py" in own) == (b"base", True)
        assert [one["mediaType"] for one in manifest["layers"]] == ["application/vnd.oci.image.layer.v1.tar+gzip"] * 2
        assert {"PATH=/app/bin:/usr/bin", "LANG=C.UTF-8"} <= {*config["config"]["Env"]}
        assert "Cmd" not in config["config"], "a command of the base is none of another entry"
        assert manifest["annotations"]["org.opencontainers.image.base.digest"].startswith("sha256:")
        assert "the base image has to bring: fastapi" in desk.log

    @pytest.mark.parametrize(
        ("said", "runs"),
        [
            ("", (["base-entry"], ["python3"])),
            ('ENTRYPOINT ["x"]', (["x"], None)),
            ('CMD ["y"]', (["base-entry"], ["y"])),
            ("CMD y $HOME", (["base-entry"], ["/bin/sh", "-c", "y $HOME"])),
        ],
    )
    async def test_an_image_runs_what_its_dockerfile_says_else_what_its_base_does(
        self, tmp_path: Path, server: RegistryServer, said: str, runs: tuple[list[str] | None, ...]
    ) -> None:
        known = self.put_base(server, config={"Entrypoint": ["base-entry"], "Cmd": ["python3"]})
        desk = self.desk_with(tmp_path, server, known)
        made = by_kind(await desk.run({"Dockerfile": f"FROM python\n{said}\n", "app.py": ""}))
        run = read_layout(desk.content(made["image"]))[1]["config"]
        assert (run.get("Entrypoint"), run.get("Cmd")) == runs

    async def test_a_base_for_many_platforms_is_taken_for_one(self, tmp_path: Path, server: RegistryServer) -> None:
        known = self.put_base(server)
        kind = "application/vnd.oci.image.manifest.v1+json"
        size = len(server.repositories["library/python"].manifests[known][0])
        arms = {
            "digest": digest(b"arm"),
            "size": 3,
            "mediaType": kind,
            "platform": {"os": "linux", "architecture": "arm64"},
        }
        intel = {"digest": known, "size": size, "mediaType": kind, "platform": {"os": "linux", "architecture": "amd64"}}
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [arms, intel]}
        desk = self.desk_with(tmp_path, server, server.put_manifest("library/python", index))
        assert len(read_layout(desk.content((await desk.run(IMAGE))["artifacts"][0]))[2]) == 2
        desk.settings = desk.settings.model_copy(
            update={"environment": {**desk.settings.environment, "WORKER_FORGE_PLATFORM": "linux/s390x"}}
        )
        assert "is not there for linux/s390x" in (await desk.failure(IMAGE)).message

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"rootfs": {"diff_ids": []}}, "another number of layers"),
            ({"rootfs": {"diff_ids": 7}}, "another number of layers"),
            ({"rootfs": []}, "another number of layers"),
        ],
    )
    async def test_a_base_that_lies_is_refused(
        self, tmp_path: Path, server: RegistryServer, changes: dict[str, Any], said: str
    ) -> None:
        failed = await self.desk_with(tmp_path, server, self.put_base(server, **changes)).failure(IMAGE)
        assert (failed.kind, failed.retryable) == ("bad_base_image", False)
        assert said in failed.message

    @pytest.mark.parametrize(
        "changes",
        [
            {"layers": "none"},
            {"layers": [{"digest": "sha256:x", "size": 1}]},
            {"layers": [{"digest": digest(b"x"), "size": -1}]},
            {"layers": [{"digest": digest(b"x"), "size": 10**12}]},
            {"layers": [{"digest": digest(b"x"), "size": True}]},
            {"layers": [{"digest": digest(b"x"), "size": 1}] * 101},
            {"config": None},
            {"config": {"digest": digest(b"x"), "size": 10**9}},
        ],
    )
    async def test_a_manifest_that_promises_too_much_is_refused_before_it_is_pulled(
        self, tmp_path: Path, server: RegistryServer, changes: dict[str, Any]
    ) -> None:
        known = self.put_base(server)
        manifest = json.loads(server.repositories["library/python"].manifests[known][0]) | changes
        desk = self.desk_with(tmp_path, server, server.put_manifest("library/python", manifest))
        failed = await desk.failure(IMAGE)
        assert (failed.kind, failed.retryable) == ("bad_base_image", False)
        assert server.asked("GET", "/blobs/") == []

    @pytest.mark.parametrize(
        "base", ["python:3.12", "{host}/library/python:3.12", "ghcr.io/acme/python@sha256:" + "0" * 64]
    )
    async def test_a_base_is_named_by_digest_and_in_its_registry(
        self, tmp_path: Path, server: RegistryServer, base: str
    ) -> None:
        desk = PackageDesk(
            tmp_path,
            WORKER_FORGE_BASE_IMAGE=base.format(host=server.host),
            WORKER_FORGE_BASE_REGISTRY_URL=server.url,
        )
        failed = await desk.failure(IMAGE)
        assert (failed.kind, server.requests) == ("not_configured", [])


@pytest.mark.slow
class TestRealRegistry:
    """The same against the registry that most people run."""

    async def test_what_is_pushed_can_be_pulled_by_digest_and_is_taken_back(self, tmp_path: Path) -> None:
        async with real_registry(tmp_path) as url:
            desk = PackageDesk(tmp_path, WORKER_FORGE_REGISTRY_URL=f"{url}/team")
            output = await desk.run(SERVICE, "service", version="1.2.0")
            assert (await desk.run(SERVICE, "service", version="1.2.0", attempt=2))["pushed"] == output["pushed"]
            async with httpx.AsyncClient(base_url=url) as client:
                for kind, one in by_kind(output).items():
                    repository, _, known = one["location"].partition("/")[2].partition("@")
                    kinds = {"accept": "application/vnd.oci.image.manifest.v1+json"}
                    manifest = await client.get(f"/v2/{repository}/manifests/{known}", headers=kinds)
                    assert (manifest.status_code, digest(manifest.content)) == (200, known)
                    for layer in manifest.json()["layers"]:
                        blob = await client.get(f"/v2/{repository}/blobs/{layer['digest']}")
                        assert digest(blob.content) == layer["digest"]
                    assert kind == "image" or layer["digest"] == one["checksum"]
            gone = await desk.run(task_type="COMPENSATE", pushed=output["pushed"])
            assert sorted(gone["removed"]) == sorted(output["pushed"])
            async with httpx.AsyncClient(base_url=url) as client:
                assert (await client.get("/v2/team/acme/shop/manifests/1.2.0", headers=kinds)).status_code == 404
            assert (await desk.run(task_type="COMPENSATE", pushed=output["pushed"]))["removed"] == []

    async def test_large_blobs_in_parts_and_a_base_from_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with real_registry(tmp_path) as url:
            monkeypatch.setattr(registry_module, "CHUNK", 1_000)
            data = os.urandom(3_500)
            api = RegistryApi(ExecutorSettings.from_environment({"WORKER_FORGE_REGISTRY_URL": url}))
            await api.put_blob("shop", digest(data), data)
            assert await api.get_blob("shop", digest(data), len(data)) == data
            await api.aclose()
            environment = {"WORKER_FORGE_REGISTRY_URL": url}
            first = by_kind(await PackageDesk(tmp_path / "a", **environment).run(IMAGE))["image"]
            environment["WORKER_FORGE_BASE_IMAGE"] = first["location"]
            second = PackageDesk(tmp_path / "b", **environment)
            made = by_kind(await second.run(IMAGE, version="0.2.0"))["image"]
            assert len(read_layout(second.content(made))[2]) == 2
