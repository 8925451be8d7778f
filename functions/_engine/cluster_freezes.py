"""The cluster that the settings name, as the target of freezes; imported where they name one.

Every process has the target, and one alone has the token of a service account: elsewhere, such as in the api where a
person ends a freeze, the token cannot be read, the freeze is stored as not `applied`, and the next tick of
`enforce_freezes` does it.
"""

from functools import partial

from functions._adapters.http.client import HttpClient
from functions._adapters.http.kubernetes import Cluster, KubernetesFreezes
from functions._core.ports import KeyValues
from functions._core.slo.stored import active_freezes
from functions._engine.settings import Settings


def cluster_freezes(settings: Settings, entries: KeyValues) -> tuple[KubernetesFreezes, HttpClient]:
    """Return the target, and the client to close after use; nothing is called yet."""
    client = HttpClient(ca_file=str(settings.freeze_ca_file))
    cluster = Cluster(
        url=str(settings.freeze_cluster_url).rstrip("/"),
        token_file=settings.freeze_token_file,
        service_label=settings.freeze_service_label,
        namespaces=settings.freeze_namespaces,
    )
    return KubernetesFreezes(client, cluster, partial(active_freezes, entries)), client
