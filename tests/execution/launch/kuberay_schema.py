"""A strict schema of the Kubernetes objects that rfprune writes.

Not KubeRay's own CRD: all keys of ``RayJobSpec``, ``RayClusterSpec`` and their groups (ray.io/v1 of
KubeRay 1.5.1), and of a pod those that rfprune uses. Unknown keys are faults.
"""

from __future__ import annotations

from typing import Any

import jsonschema

__all__ = ["faults"]

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
NAME: Schema = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 63}
#: The operator adds suffixes to a RayJob's name, so that Kubernetes' 63 are not enough.
JOB_NAME: Schema = {**NAME, "maxLength": 47}
ANYTHING: Schema = {"type": "object"}


def _object(required: tuple[str, ...] = (), **keys: Schema) -> Schema:
    return {
        "type": "object",
        "properties": keys,
        "required": list(required),
        "additionalProperties": False,
    }


def _list(item: Schema, at_least: int = 0) -> Schema:
    return {"type": "array", "items": item, "minItems": at_least}


QUANTITY: Schema = {"type": "string", "pattern": r"^\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"}
QUANTITIES: Schema = {"type": "object", "additionalProperties": QUANTITY}
METADATA = _object(("name",), name=JOB_NAME, namespace=NAME, labels=TEXTS, annotations=TEXTS)
VARIABLE = _object(
    ("name",),
    name=TEXT,
    value=TEXT,
    valueFrom=_object(secretKeyRef=_object(("name", "key"), name=NAME, key=TEXT, optional=FLAG)),
)
CONTAINER = _object(
    ("name", "image"),
    name=NAME,
    image=TEXT,
    imagePullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
    command=_list(TEXT),
    args=_list(TEXT),
    env=_list(VARIABLE),
    ports=_list(_object(("containerPort",), containerPort=NUMBER, name=NAME)),
    resources=_object(limits=QUANTITIES, requests=QUANTITIES),
    securityContext=_object(
        allowPrivilegeEscalation=FLAG,
        runAsNonRoot=FLAG,
        runAsUser=NUMBER,
        capabilities=_object(drop=_list(TEXT)),
    ),
    volumeMounts=_list(
        _object(("name", "mountPath"), name=NAME, mountPath=TEXT, readOnly=FLAG, subPath=TEXT)
    ),
)
ITEMS = _list(_object(("key", "path"), key=TEXT, path=TEXT, mode=NUMBER))
VOLUME = _object(
    ("name",),
    name=NAME,
    configMap=_object(("name",), name=NAME, items=ITEMS, defaultMode=NUMBER, optional=FLAG),
    persistentVolumeClaim=_object(("claimName",), claimName=NAME, readOnly=FLAG),
    emptyDir=ANYTHING,
)
POD = _object(
    ("containers",),
    containers=_list(CONTAINER, 1),
    volumes=_list(VOLUME),
    nodeSelector=TEXTS,
    serviceAccountName=NAME,
    imagePullSecrets=_list(_object(("name",), name=NAME)),
    restartPolicy={"enum": ["Always", "OnFailure", "Never"]},
)
TEMPLATE = _object(("spec",), metadata=_object(labels=TEXTS, annotations=TEXTS), spec=POD)
HEAD = _object(
    ("template", "rayStartParams"),
    serviceType=TEXT,
    headService=ANYTHING,
    enableIngress=FLAG,
    rayStartParams=TEXTS,
    resources=TEXTS,
    labels=TEXTS,
    template=TEMPLATE,
)
WORKERS = _object(
    ("groupName", "template", "rayStartParams"),
    groupName=NAME,
    replicas=NUMBER,
    minReplicas=NUMBER,
    maxReplicas=NUMBER,
    idleTimeoutSeconds=NUMBER,
    numOfHosts=NUMBER,
    suspend=FLAG,
    rayStartParams=TEXTS,
    resources=TEXTS,
    labels=TEXTS,
    scaleStrategy=_object(workersToDelete=_list(TEXT)),
    template=TEMPLATE,
)
CLUSTER = _object(
    ("headGroupSpec",),
    authOptions=_object(
        mode={"enum": ["disabled", "token"]}, secretName=NAME, enableK8sTokenAuth=FLAG
    ),
    suspend=FLAG,
    managedBy=TEXT,
    autoscalerOptions=ANYTHING,
    headServiceAnnotations=TEXTS,
    enableInTreeAutoscaling=FLAG,
    gcsFaultToleranceOptions=ANYTHING,
    headGroupSpec=HEAD,
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    workerGroupSpecs=_list(WORKERS),
)
JOB = _object(
    ("entrypoint",),
    activeDeadlineSeconds={**NUMBER, "minimum": 1},
    waitingTTLSeconds=NUMBER,
    backoffLimit=NUMBER,
    rayClusterSpec=CLUSTER,
    submitterPodTemplate=TEMPLATE,
    metadata=TEXTS,
    clusterSelector=TEXTS,
    submitterConfig=_object(backoffLimit=NUMBER),
    managedBy=TEXT,
    deletionStrategy=ANYTHING,
    entrypoint=TEXT,
    runtimeEnvYAML=TEXT,
    jobId=TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    entrypointResources=TEXT,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    ttlSecondsAfterFinished=NUMBER,
    shutdownAfterJobFinishes=FLAG,
    suspend=FLAG,
)


def _kind(version: str, kind: str, **keys: Schema) -> Schema:
    return _object(
        ("apiVersion", "kind", "metadata"),
        apiVersion={"const": version},
        kind={"const": kind},
        metadata=METADATA,
        **keys,
    )


CLAIM = _object(
    ("accessModes", "resources"),
    accessModes=_list({"enum": ["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany"]}, 1),
    resources=_object(("requests",), requests=QUANTITIES),
    storageClassName=NAME,
    volumeName=TEXT,
)
KINDS: dict[str, Schema] = {
    "RayJob": _kind("ray.io/v1", "RayJob", spec=JOB),
    "RayCluster": _kind("ray.io/v1", "RayCluster", spec=CLUSTER),
    "ConfigMap": _kind("v1", "ConfigMap", data=TEXTS, binaryData=TEXTS, immutable=FLAG),
    "PersistentVolumeClaim": _kind("v1", "PersistentVolumeClaim", spec=CLAIM),
    "Namespace": _kind("v1", "Namespace"),
}


def faults(value: dict[str, Any]) -> list[str]:
    """Return every fault of one object, each with its place."""
    schema = KINDS.get(value.get("kind", ""))
    if schema is None:
        return [f"unknown kind {value.get('kind')!r}"]
    validator = jsonschema.Draft202012Validator(schema)
    return [
        f"{'.'.join(str(part) for part in error.absolute_path)}: {error.message}"
        for error in validator.iter_errors(value)
    ]
