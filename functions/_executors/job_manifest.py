"""What a cluster is to run for a ticket: a Job whose pod can do nothing but compute, and the Secret that it owns."""

import math
from collections.abc import Mapping
from typing import Any

from functions._core.executors.cluster import K8sJobParameters
from functions._core.executors.manifests import OWN
from functions._core.masking import Mask
from functions._executors.cluster import KEY, key_hash
from functions._executors.port import JobContext

CONTAINER = "job"
"""The one container of the pod."""

SPARE_SECONDS = 60
"""What the cluster gives a Job beyond the time of its ticket: the worker ends it first, the cluster if none is left."""

Context = JobContext[K8sJobParameters]


def job_name(context: Context) -> str:
    """Return the name of the Job of a ticket, and of its Secret: the same for each attempt of the same key."""
    return f"flowc-{key_hash(context.idempotency_key)}"


def job_manifest(context: Context) -> Mapping[str, Any]:
    """Return the Job."""
    given = context.parameters
    labels = {"app.kubernetes.io/managed-by": "flowc", KEY: key_hash(context.idempotency_key)}
    user, _, group = given.user.partition(":")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job_name(context), "labels": labels, "annotations": _about(context)},
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "suspend": bool(secret_names(context)),
            "activeDeadlineSeconds": math.ceil(context.seconds_left) + SPARE_SECONDS,
            "ttlSecondsAfterFinished": given.keep_seconds,
            "template": {
                "metadata": {"labels": labels, "annotations": _about(context)},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    **({"serviceAccountName": given.service_account} if given.service_account else {}),
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": int(user),
                        "runAsGroup": int(group or user),
                        "fsGroup": int(group or user),
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [_container(context)],
                    "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}],
                },
            },
        },
    }


def secret_manifest(context: Context, job_uid: str) -> Mapping[str, Any]:
    """Return the Secret with the variables that hold a secret; it goes when the Job does."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job_name(context), "uid": job_uid}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": job_name(context),
            "labels": {"app.kubernetes.io/managed-by": "flowc", KEY: key_hash(context.idempotency_key)},
            "ownerReferences": [owner],
        },
        "immutable": True,
        "stringData": {name: context.parameters.env[name] for name in sorted(secret_names(context))},
    }


def _container(context: Context) -> Mapping[str, Any]:
    given = context.parameters
    secret = secret_names(context)
    known = {**context.variables, **given.env}
    env: list[dict[str, Any]] = [
        {"name": one, "value": _literal(value)} for one, value in known.items() if one not in secret
    ]
    env += [
        {"name": one, "valueFrom": {"secretKeyRef": {"name": job_name(context), "key": one}}} for one in sorted(secret)
    ]
    needs = given.resources
    return {
        "name": CONTAINER,
        "image": given.image,
        **({"command": [*map(_literal, given.entrypoint)]} if given.entrypoint is not None else {}),
        **({"args": [*map(_literal, given.argv)]} if given.argv is not None else {}),
        "env": env,
        "resources": {
            "limits": {"cpu": _milli(needs.cpus), "memory": f"{needs.memory_mb}Mi"},
            "requests": {
                "cpu": _milli(min(needs.requested_cpus, needs.cpus)),
                "memory": f"{min(needs.requested_memory_mb, needs.memory_mb)}Mi",
            },
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - that of the container
    }


def secret_names(context: Context) -> frozenset[str]:
    """Return the variables whose values hold a secret."""
    mask = Mask(context.secrets)
    return frozenset(name for name, value in context.parameters.env.items() if mask.is_in(value))


def _about(context: Context) -> Mapping[str, str]:
    """Return the annotations by which a person finds the ticket of a Job."""
    about = {"ticket": context.ticket_id, "flow": context.flow_id, "plan": context.plan_id, "task": context.task_id}
    return {f"{OWN}{name}": value for name, value in about.items() if value}


def _literal(text: str) -> str:
    """Return a text in which the cluster replaces nothing: it reads `$(NAME)` as a variable."""
    return text.replace("$", "$$")


def _milli(cpus: float) -> str:
    return f"{max(1, round(cpus * 1000))}m"
