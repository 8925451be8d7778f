"""Compiles `events/proto` for the gRPC server: `python -m infra.generate.protos`; `--check` only compares.

The result is a descriptor set, which any version of protobuf reads, in place of generated modules, which do not.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from infra.generate.contract.folder import ROOT

PROTOS = ROOT / "events" / "proto"
COMPILED = ROOT / "functions" / "_hosts" / "grpc" / "services.binpb"


def compiled() -> bytes:
    """Return the descriptors of all `.proto` files, with those that they import."""
    from grpc_tools import protoc

    names = sorted(path.name for path in PROTOS.glob("*.proto"))
    known = Path(protoc.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "services.binpb"
        options = (f"--proto_path={PROTOS}", f"--proto_path={known}", "--include_imports")
        failed = protoc.main(("protoc", *options, f"--descriptor_set_out={made}", *names))
        if failed:
            raise SystemExit(failed)
        return made.read_bytes()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the descriptors, or with `--check` return 1 when they differ."""
    parser = argparse.ArgumentParser(prog="generate_protos", description="Compile events/proto.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the result differs")
    if not parser.parse_args(arguments).check:
        COMPILED.write_bytes(compiled())
        return 0
    if COMPILED.read_bytes() == compiled():
        return 0
    sys.stderr.write(f"{COMPILED.relative_to(ROOT)} differs; run `make protos`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
