"""What the controllers and the nodes of a cluster do for `KubeApi`: a moment after the call, as they do.

A pod's container is a process of this machine. Images that are not in `images` cannot be pulled, and more processors
than `cpus` are on no node.
"""

import asyncio
import copy
import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from tests.support.kube_api import KubeApi, Object, now

NODE = "node-1"
VARIABLE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


@dataclass
class Container:
    """A container that runs, and its log: each line with its time."""

    process: asyncio.subprocess.Process | None = None
    lines: list[tuple[datetime, bytes]] = field(default_factory=list)


class Kubelet:
    """Runs the pods of Jobs, and says how the Jobs fare."""

    def __init__(self, api: KubeApi) -> None:
        self.api = api
        self.images = {"python:3.12"}
        self.cpus = 8.0
        self.containers: dict[str, Container] = {}
        self.begun: list[str] = []
        self.out_of_memory = False
        self.time_of: Callable[[int], datetime] = lambda _: datetime.now(UTC)
        """When a line is written, by its number."""
        self._tasks: set[asyncio.Task[None]] = set()
        api.watching.append(self._seen)
        api.logs = self._log

    async def aclose(self) -> None:
        for container in self.containers.values():
            _kill(container)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _seen(self, path: str) -> None:
        if "/apis/batch/v1/" not in path:
            return
        job = self.api.objects.get(path)
        pods = [pod for pod in self.containers if pod not in self.api.objects]
        for pod in pods:
            _kill(self.containers[pod])
        if job is not None and not job["spec"].get("suspend") and job["metadata"]["uid"] not in self.begun:
            self.begun.append(job["metadata"]["uid"])
            task = asyncio.create_task(self._run(path, job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, job_path: str, job: Object) -> None:
        await asyncio.sleep(0.02)  # the pod is there later than the Job
        pod = self._pod(job)
        path = f"{job_path.replace('/apis/batch/v1', '/api/v1').rpartition('/jobs/')[0]}/pods/{pod['metadata']['name']}"
        self.api.put(path, pod, by_controller=True)
        [container] = pod["spec"]["containers"]
        if _cpus(container) > self.cpus:
            text = "0/3 nodes are available: 3 Insufficient cpu."
            unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}
            conditions = [{**unscheduled, "lastTransitionTime": now()}]
            return self.api.change(path, status={"phase": "Pending", "conditions": conditions})
        if container["image"] not in self.images:
            self._waits(path, "ErrImagePull", "rpc error: code = NotFound")
            await asyncio.sleep(0.02)
            return self._waits(path, "ImagePullBackOff", f'Back-off pulling image "{container["image"]}"')
        code = await self._process(path, container)
        await asyncio.sleep(0.02)  # the statuses come later than the end
        self._ended(path, job_path, code)
        return None

    async def _process(self, path: str, container: Object) -> int:
        namespace = path.rpartition("/pods/")[0]
        env: dict[str, str] = {}
        for one in container["env"]:
            if "valueFrom" in one:
                wanted = one["valueFrom"]["secretKeyRef"]
                env[one["name"]] = self.api.objects[f"{namespace}/secrets/{wanted['name']}"]["data"][wanted["key"]]
            else:
                env[one["name"]] = _expanded(one["value"], env)
        argv = [_expanded(one, env) for one in [*container.get("command", []), *container.get("args", [])]]
        running = self.containers[path] = Container()
        running.process = process = await asyncio.create_subprocess_exec(
            *argv,
            env={**env, "PATH": os.environ["PATH"]},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=2**25,
        )
        self.api.change(path, status=_status("Running", {"running": {"startedAt": now()}}))
        assert process.stdout is not None
        while line := await process.stdout.readline():
            running.lines.append((self.time_of(len(running.lines)), line))
        return await process.wait()

    def _ended(self, path: str, job_path: str, code: int) -> None:
        reason = "OOMKilled" if self.out_of_memory else "Completed" if code == 0 else "Error"
        code = 137 if self.out_of_memory else code
        state = {"terminated": {"exitCode": code, "reason": reason, "finishedAt": now()}}
        self.api.change(path, status=_status("Succeeded" if code == 0 else "Failed", state))
        failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
        self.api.change(
            job_path, status={"conditions": [{"type": "Complete", "status": "True"} if code == 0 else failed]}
        )

    def _waits(self, path: str, reason: str, message: str) -> None:
        self.api.change(path, status=_status("Pending", {"waiting": {"reason": reason, "message": message}}))

    def _pod(self, job: Object) -> Object:
        template = copy.deepcopy(job["spec"]["template"])
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        labels = {**template["metadata"].get("labels", {}), "job-name": name}
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid, "controller": True}
        metadata = {"name": f"{name}-{len(self.begun)}", "labels": labels, "ownerReferences": [owner]}
        metadata["namespace"] = job["metadata"]["namespace"]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {**template["spec"], "nodeName": NODE},
            "status": {"phase": "Pending"},
        }

    def _log(self, path: str, query: dict[str, str]) -> bytes:
        since = datetime.fromisoformat(query.get("sinceTime", "1970-01-01T00:00:00Z"))
        limit = int(query.get("limitBytes", 2**40))
        text, size = [], 0
        for time, line in self.containers[path].lines if path in self.containers else ():
            if time < since:
                continue
            stamp = f"{time.replace(tzinfo=None).isoformat(timespec='microseconds')}000Z "
            text.append((stamp.encode() if query.get("timestamps") == "true" else b"") + line)
            size += len(text[-1])
            if size >= limit:
                break
        return b"".join(text)[:limit]


class Workloads:
    """Rolls workloads out, a moment later; images in `broken` never get ready. With `held` their statuses stay old."""

    def __init__(self, api: KubeApi) -> None:
        self.api = api
        self.broken: set[str] = set()
        self.held = False
        self._tasks: set[asyncio.Task[None]] = set()
        api.watching.append(self._seen)

    async def aclose(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _seen(self, path: str) -> None:
        found = self.api.objects.get(path)
        if "/apis/apps/v1/" in path and found is not None and not self.held:
            task = asyncio.create_task(self._roll_out(path, found))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _roll_out(self, path: str, found: Object) -> None:
        await asyncio.sleep(0.02)
        generation, wanted = found["metadata"]["generation"], found["spec"].get("replicas", 1)
        seen = {
            "observedGeneration": generation,
            "replicas": wanted + 1,
            "updatedReplicas": 1,
            "availableReplicas": wanted,
        }
        self.api.change(path, status=seen)
        await asyncio.sleep(0.02)
        images = {one["image"] for one in found["spec"]["template"]["spec"]["containers"]}
        if images & self.broken:
            late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
            late["message"] = f'ReplicaSet "{found["metadata"]["name"]}-1" has timed out progressing.'
            self._broken_pod(found)
            return self.api.change(path, status={**seen, "conditions": [late]})
        ready = {"replicas": wanted, "updatedReplicas": wanted, "availableReplicas": wanted, "readyReplicas": wanted}
        daemon = {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2}
        revisions = {"currentRevision": "r", "updateRevision": "r"}
        return self.api.change(path, status={"observedGeneration": generation, **ready, **daemon, **revisions})

    def _broken_pod(self, found: Object) -> None:
        labels = found["spec"]["selector"]["matchLabels"]
        waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
        pod = {"kind": "Pod", "metadata": {"name": "broken", "labels": labels}, "spec": {}}
        pod["status"] = {"containerStatuses": [{"name": "web", "state": waiting}]}
        namespace = found["metadata"]["namespace"]
        self.api.put(f"/api/v1/namespaces/{namespace}/pods/broken", pod, by_controller=True)


class Flux:
    """Fetches sources and applies what they have, a moment later; revisions in `missing` and `broken` fail.

    A branch is at the commit that `heads` says.
    """

    def __init__(self, api: KubeApi) -> None:
        self.api = api
        self.heads = {"main": "a" * 40}
        self.missing: set[str] = set()
        self.broken: set[str] = set()
        self.held = False
        self.applied: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()
        api.watching.append(self.seen)

    @property
    def idle(self) -> bool:
        """Whether it looks at nothing just now."""
        return not self._tasks

    async def aclose(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def seen(self, path: str) -> None:
        """Look at an object, as Flux does when it has changed."""
        if "toolkit.fluxcd.io" in path and not self.held:
            task = asyncio.create_task(self.reconcile(path))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def reconcile(self, path: str) -> None:
        """Look at one object, and at those that follow it unless `held`."""
        await asyncio.sleep(0.02)
        found = self.api.objects[path]
        spec = found["spec"]
        if spec.get("suspend"):
            return
        if "ref" in spec:
            self._status(path, **self._fetched(found))
            for other, one in self.api.objects.items():
                if (
                    one["spec"].get("sourceRef", one["spec"].get("chartRef", {})).get("name")
                    == found["metadata"]["name"]
                ):
                    self.seen(other)
        elif found["kind"] == "Kustomization":
            self._apply(path, found)
        else:
            self._release(path, found)

    def _fetched(self, source: Object) -> Object:
        ref = source["spec"]["ref"]
        name = ref.get("commit") or ref.get("digest") or ref.get("tag") or ref.get("branch")
        if name in self.missing:
            return {"conditions": [_ready("False", "GitOperationFailed", f"couldn't find remote ref {name}")]}
        digest = ref.get("commit") or self.heads.get(name) or sha256(name.encode()).hexdigest()[:40]
        label = ref.get("branch") or ref.get("tag") or ""
        algorithm = "sha256" if source["kind"] == "OCIRepository" else "sha1"
        artifact = {"revision": f"{label}@{algorithm}:{digest}"}
        return {"artifact": artifact, "conditions": [_ready("True", "Succeeded", "stored artifact")]}

    def _apply(self, path: str, found: Object) -> None:
        source = self._source(path, found["spec"]["sourceRef"])
        revision = source.get("status", {}).get("artifact", {}).get("revision")
        if revision is None:
            return self._status(path, conditions=[_ready("False", "ArtifactFailed", "artifact not found")])
        if any(name in revision for name in self.broken):
            ready = _ready("False", "HealthCheckFailed", "timeout waiting for: [Deployment/shop status: 'InProgress']")
            return self._status(path, lastAttemptedRevision=revision, conditions=[ready])
        self.applied.append(revision)
        ready = _ready("True", "ReconciliationSucceeded", f"Applied revision: {revision}")
        return self._status(path, lastAttemptedRevision=revision, lastAppliedRevision=revision, conditions=[ready])

    def _release(self, path: str, found: Object) -> None:
        version = found["spec"].get("chart", {}).get("spec", {}).get("version", "1.0.0")
        more = {}
        if "chartRef" in found["spec"]:
            artifact = self._source(path, found["spec"]["chartRef"]).get("status", {}).get("artifact", {})
            more = {"lastAttemptedRevisionDigest": artifact.get("revision", "").partition("@")[2]}
        history = found.get("status", {}).get("history", [])
        if version in self.broken or found["spec"].get("values", {}).get("image") in self.broken:
            ready = _ready("False", "UpgradeFailed", "Helm upgrade failed: context deadline exceeded")
            return self._status(path, lastAttemptedRevision=version, **more, conditions=[ready])
        self.applied.append(version)
        deployed = {"chartVersion": version, "status": "deployed"}
        history = [deployed, *({**one, "status": "superseded"} for one in history)]
        ready = _ready("True", "UpgradeSucceeded", "Helm upgrade succeeded")
        return self._status(path, lastAttemptedRevision=version, **more, history=history, conditions=[ready])

    def _source(self, path: str, named: Object) -> Object:
        kinds = {"GitRepository": "gitrepositories", "OCIRepository": "ocirepositories"}
        namespace = named.get("namespace", path.split("/")[5])
        root = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{namespace}"
        return self.api.objects[f"{root}/{kinds[named['kind']]}/{named['name']}"]

    def _status(self, path: str, **status: Any) -> None:
        found = self.api.objects[path]
        metadata = found["metadata"]
        about = {"observedGeneration": metadata["generation"]}
        if (asked := metadata.get("annotations", {}).get("reconcile.fluxcd.io/requestedAt")) is not None:
            about["lastHandledReconcileAt"] = asked
        self.api.change(path, status={**found.get("status", {}), **about, **status})


def _ready(status: str, reason: str, message: str) -> Object:
    return {"type": "Ready", "status": status, "reason": reason, "message": message}


def _status(phase: str, state: Object) -> Object:
    return {
        "phase": phase,
        "conditions": [{"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [{"name": "job", "imageID": "sha256:abc", "state": state}],
    }


def _expanded(text: str, env: dict[str, str]) -> str:
    """Return a text with its variables replaced, as a node does it."""
    return VARIABLE.sub(lambda m: "$" if m[0] == "$$" else env.get(m[1], m[0]), text)


def _cpus(container: Object) -> float:
    return float(container["resources"]["requests"]["cpu"].removesuffix("m")) / 1000


def _kill(container: Container) -> None:
    if container.process is not None and container.process.returncode is None:
        os.killpg(container.process.pid, signal.SIGKILL)
