"""The contract server of a cluster as a program, for the sessions of documents.

`python -m tests.support.kube_server FILE` writes the variables of a worker that reaches it to the file, and serves
until it is ended.
"""

import asyncio
import sys
from pathlib import Path

from tests.support.kube_api import KubeApi
from tests.support.kube_controllers import Flux, Kubelet, Workloads


async def serve(file: Path) -> None:
    """Serve a cluster with a node, controllers of workloads, and Flux with one application."""
    async with KubeApi() as api:
        Kubelet(api)
        Workloads(api).broken.add("ghcr.io/acme/web:broken")
        Flux(api)
        root = "/apis/source.toolkit.fluxcd.io/v1/namespaces/web/gitrepositories/shop"
        about = {"name": "shop", "namespace": "web"}
        api.put(root, {"kind": "GitRepository", "metadata": dict(about), "spec": {"ref": {"branch": "main"}}})
        source = {"kind": "GitRepository", "name": "shop"}
        path = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/web/kustomizations/shop"
        api.put(path, {"kind": "Kustomization", "metadata": dict(about), "spec": {"sourceRef": source}})
        lines = (f"export WORKER_KUBERNETES_URL={api.url}", f"export WORKER_KUBERNETES_TOKEN={api.token}", "")
        await asyncio.to_thread(file.write_text, "\n".join(lines), encoding="utf-8")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
