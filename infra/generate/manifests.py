"""What Kubernetes is told of each function: its Service, its SinkBinding, its budget and one Trigger for each route."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from functions._core.events.catalogue import BY_TYPE, CATALOGUE, HOLDER, SINK
from functions._core.events.envelope import TYPE_PREFIX
from functions._core.events.routes import HANDLERS, TRANSITIONS

NAMESPACE = BROKER = IMAGE = "flow-c"
LEARN_IMAGE = "flow-c-learn"
TICK = "dev.knative.sources.ping"
"""The type of a PingSource's events, which cannot be chosen; the functions map it to `clock.ticked`."""

NOTIFY = "notify"
"""The function that gets all transitions, whatever their type: by their source."""

TICKED = BY_TYPE["clock.ticked"].handled_by.split(", ")

MADE = "# Made by `make knative` from the code's routes; do not edit, patch it in an overlay."


@dataclass(frozen=True, slots=True)
class Scale:
    """How one function is run.

    `concurrency`: requests that one pod handles at the same time; `least` and `most`: pods; `seconds`: the longest
    that a request may take; `public`: reached from outside the cluster. `image` and what it may use of a node are its
    own; `connections` to the database are, where it has fewer than the others.
    """

    concurrency: int = 16
    least: int = 0
    most: int = 3
    seconds: int = 60
    public: bool = False
    image: str = IMAGE
    cpu: str = "1"
    memory: str = "512Mi"
    connections: int | None = None


SCALES: Mapping[str, Scale] = {
    "validate": Scale(most=2),
    "generate_tickets": Scale(most=2),
    "discover": Scale(most=2),
    "assign": Scale(most=3),
    "monitor": Scale(most=5),
    "publish_telemetry": Scale(concurrency=24, most=2),
    "enforce_sla": Scale(concurrency=4, least=1, most=2),
    "track_workers": Scale(concurrency=4, most=2),
    "dead_letter": Scale(most=1),
    "notify": Scale(concurrency=48, most=1),
    "calculate_budgets": Scale(concurrency=1, most=1),
    "enforce_freezes": Scale(concurrency=4, most=1),
    "reconcile_resources": Scale(concurrency=1, most=1),
    "heal_incident": Scale(concurrency=4, most=1),
    "run_executor": Scale(most=1),
    # A training takes two cores for some minutes, once a week; the image has scikit-learn.
    "learn": Scale(concurrency=1, most=1, image=LEARN_IMAGE, cpu="2", memory="4Gi", connections=2),
    "analyze": Scale(concurrency=1, most=1, connections=2),
    # A call may wait 300 s for its flow (`/api/v1/flow-c/execute`). One pod stays up, as workers report at any time.
    "api": Scale(concurrency=100, least=1, most=5, seconds=330, public=True),
}
"""The deployable functions. The sum of `most` times FLOWC_DATABASE_CONNECTIONS is what PostgreSQL has to take."""


LEARNING = ("learn", "analyze")
"""Functions that stand in a folder of their own, for overlays that want them: at rest, too, each tick wakes a pod."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How often a broker repeats what a function did not take, after 1 s, 2 s, 4 s …, before it is a dead letter."""

    retry: int


PATIENT = Delivery(retry=10)
TICKS = Delivery(retry=3)
"""The next tick comes within a minute anyway."""


def types(function: str) -> Mapping[str, Delivery]:
    """Return the types of the events that reach `function` through the broker, and how they are delivered."""
    found = {
        f"{TYPE_PREFIX}{event_type}.v1": PATIENT for event_type, handler in HANDLERS.items() if handler == function
    }
    if function in TICKED:
        found[TICK] = TICKS
    return found


def calls_out(function: str) -> bool:
    """Return whether `function` calls workers, webhooks or the telemetry sink, wherever these are."""
    senders = {name for entry in CATALOGUE if entry.handled_by in {HOLDER, SINK} for name in entry.sent_by.split(", ")}
    # Who gets a tick sweeps whatever is due; the api carries out orders and flushes the telemetry buffer.
    sweeps = function in TICKED and function not in LEARNING
    return function in senders or sweeps or function in {"api", NOTIFY}


def manifest(function: str) -> str:
    """Return the file about one function."""
    parts = [_service(function, SCALES[function]), _sink_binding(hyphened(function))]
    parts += [_trigger(hyphened(function), kind, delivery) for kind, delivery in types(function).items()]
    if function == NOTIFY:
        parts.append(_trigger(NOTIFY, TRANSITIONS, PATIENT, attribute="source"))
    if SCALES[function].most > 1:
        parts.append(_disruption_budget(hyphened(function)))
    return f"{MADE}\n" + "---\n".join(parts)


def kustomization(names: Sequence[str]) -> str:
    """Return a kustomization of the files `names`."""
    return "\n".join(
        [
            "# Made by `make knative`; do not edit.",
            "apiVersion: kustomize.config.k8s.io/v1beta1",
            "kind: Kustomization",
            "resources:",
            *(f"  - {name}" for name in names),
            "",
        ]
    )


def hyphened(function: str) -> str:
    """Return the name of `function` in Kubernetes, which takes no underscores."""
    return function.replace("_", "-")


def dead_letters(indent: int) -> str:
    """Return the lines, `indent` spaces from the left, that lead undeliverable events to the dead-letter function."""
    lines = ["deadLetterSink:", "  ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: dead-letter}"]
    return "\n".join(" " * indent + line for line in lines)


def _service(function: str, scale: Scale) -> str:
    name = hyphened(function)
    return f"""\
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: {name}
  namespace: {NAMESPACE}
  labels:
    app.kubernetes.io/name: {name}
    app.kubernetes.io/part-of: flow-c
{"" if scale.public else "    networking.knative.dev/visibility: cluster-local" + chr(10)}\
spec:
  template:
    metadata:
      labels:
{"".join(f"        {label}{chr(10)}" for label in _labels(function))}\
      annotations:
        autoscaling.knative.dev/min-scale: "{scale.least}"
        autoscaling.knative.dev/max-scale: "{scale.most}"
    spec:
      containerConcurrency: {scale.concurrency}
      timeoutSeconds: {scale.seconds}
      automountServiceAccountToken: false
      enableServiceLinks: false
      containers:
        - image: {scale.image}
          args: [{function}]
{_container(function)}"""


def _labels(function: str) -> Iterator[str]:
    yield f"app.kubernetes.io/name: {hyphened(function)}"
    yield "app.kubernetes.io/part-of: flow-c"
    if calls_out(function):
        yield 'neuralhive.io/calls-out: "true"'


def _container(function: str) -> str:
    """Return what a pod's container is told beside its image; a secret that need not be there is optional."""
    given = [(name, key, "") for name, key in SECRETS.items()]
    given += [(name, key, ", optional: true") for name, key in SECRETS_OF.get(function, {}).items()]
    lines = (
        f"            - name: {name}\n              valueFrom: {{secretKeyRef: {{name: flow-c, key: {key}{more}}}}}\n"
        for name, key, more in given
    )
    scale = SCALES[function]
    env = "".join(lines)
    if scale.connections is not None:
        env += f'            - {{name: FLOWC_DATABASE_CONNECTIONS, value: "{scale.connections}"}}\n'
    limits = f'limits: {{cpu: "{scale.cpu}", memory: {scale.memory}}}'
    return CONTAINER.replace("          env:\n", "          env:\n" + env).replace(LIMITS, limits)


SECRETS = {"FLOWC_DATABASE_URL": "database-url", "FLOWC_WORKER_KEY": "worker-key", "FLOWC_API_KEY": "api-key"}
"""Settings that are secrets, and their keys in the Secret `flow-c`."""

SECRETS_OF: Mapping[str, Mapping[str, str]] = {"api": {"FLOWC_ALERT_WEBHOOK_SECRET": "alert-webhook-secret"}}
"""Secrets that one function alone gets, where they are there."""


LIMITS = 'limits: {cpu: "1", memory: 512Mi}'

# Knative sets PORT from the container's port, the SinkBinding K_SINK. The root file system is read-only.
CONTAINER = """\
          ports:
            - containerPort: 8080
          envFrom:
            - configMapRef: {name: flow-c-settings}
          env:
          readinessProbe:
            httpGet: {path: /health/readiness, port: 8080}
            timeoutSeconds: 5
          livenessProbe:
            httpGet: {path: /health/liveness, port: 8080}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          resources:
            requests: {cpu: 100m, memory: 128Mi}
            limits: {cpu: "1", memory: 512Mi}
          securityContext:
            runAsNonRoot: true
            runAsUser: 65532
            runAsGroup: 65532
            readOnlyRootFilesystem: true
            allowPrivilegeEscalation: false
            capabilities: {drop: [ALL]}
            seccompProfile: {type: RuntimeDefault}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
      volumes:
        - name: tmp
          emptyDir: {sizeLimit: 64Mi}
"""


def _sink_binding(name: str) -> str:
    return f"""\
apiVersion: sources.knative.dev/v1
kind: SinkBinding
metadata:
  name: {name}
  namespace: {NAMESPACE}
spec:
  subject: {{apiVersion: serving.knative.dev/v1, kind: Service, name: {name}}}
  sink:
    ref: {{apiVersion: eventing.knative.dev/v1, kind: Broker, name: {BROKER}}}
"""


def _disruption_budget(name: str) -> str:
    """Return the budget by which nodes that are drained take one pod at a time; one of a single pod would stop them."""
    return f"""\
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {name}
  namespace: {NAMESPACE}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{serving.knative.dev/service: {name}}}
"""


def _trigger(name: str, kind: str, delivery: Delivery, *, attribute: str = "type") -> str:
    event_type = kind.removeprefix(TYPE_PREFIX).removesuffix(".v1").replace(".", "-").replace("_", "-").strip("/")
    return f"""\
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: {name}-{"tick" if kind == TICK else event_type}
  namespace: {NAMESPACE}
spec:
  broker: {BROKER}
  filter:
    attributes:
      {attribute}: {kind}
  subscriber:
    ref: {{apiVersion: serving.knative.dev/v1, kind: Service, name: {name}}}
  delivery:
    retry: {delivery.retry}
    backoffPolicy: exponential
    backoffDelay: PT1S
    timeout: PT60S
{dead_letters(4)}
"""
