"""GPU resources of every CUDA kernel: registers, local and shared memory, and the number of blocks that run at once.

    python benchmarks/cuda_resources.py --json benchmarks/results/cuda_resources.json

No GPU is needed: NVIDIA's run-time compiler, from the package nvidia-cuda-nvrtc-cu12, reports the figures.
``test_cuda_compiles.py`` tests two limits: no kernel may use local memory, which is slow, and every block must fit.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import machine

from tests.support import nvrtc
from tinycnn.backends.cupy.launch import THREADS, source, source_names

# Limits of a multiprocessor: threads, bytes of shared memory, bytes reserved per block in addition to its own (CUDA
# Programming Guide, "Compute Capabilities"). All have 65,536 registers, allocated to warps in units of 256.
GPUS = {
    "sm_75": (1024, 64 << 10, 0),
    "sm_80": (2048, 164 << 10, 1 << 10),
    "sm_86": (1536, 100 << 10, 1 << 10),
    "sm_90": (2048, 228 << 10, 1 << 10),
}
REGISTERS, UNIT, WARP = 65536, 256, 32
ROW = "{gpu} {precision:8} {kernel:24} {registers:4} {local:4} {shared:6} {blocks_at_once:3}"
PRECISIONS = {"float32": ["-DREAL=float"], "tf32": ["-DREAL=float", "-DTF32=1"], "float64": ["-DREAL=double"]}


def blocks_at_once(used: nvrtc.Resources, gpu: str) -> int:
    """The number of blocks of ``THREADS`` threads that fit on one multiprocessor."""
    threads, shared, extra = GPUS[gpu]
    per_warp = -(-used.registers * WARP // UNIT) * UNIT
    limits = threads // THREADS, REGISTERS // (per_warp * THREADS // WARP), shared // (used.shared + extra or 1)
    return min(limits)


def compiled_for(gpu: str, precision: str) -> dict[str, dict[str, int]]:
    """Kernel → its resources; without files that do not depend on ``precision``, or if ``gpu`` does not support it."""
    found = {}
    for name in source_names():
        text = source(name)
        if precision == "tf32" and (gpu == "sm_75" or "tile_tf32.cuh" not in text):
            continue
        code, messages, used = nvrtc.compile_kernels(text, gpu, "-DPLACE=unsigned char", *PRECISIONS[precision])
        if not code:
            raise SystemExit(messages)
        for kernel, resources in used.items():
            found[kernel] = {**resources._asdict(), "blocks_at_once": blocks_at_once(resources, gpu)}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=machine.result_file, metavar="FILE", help="write all figures there")
    parser.add_argument("--gpu", nargs="*", choices=list(GPUS), default=list(GPUS), help="compute capabilities")
    options = parser.parse_args()
    if nvrtc.library() is None:
        print("error: no CUDA compiler: pip install nvidia-cuda-nvrtc-cu12", file=sys.stderr)
        return 2
    results: list[dict[str, Any]] = []
    for gpu in options.gpu:
        for precision in PRECISIONS:
            for kernel, used in sorted(compiled_for(gpu, precision).items()):
                results.append({"gpu": gpu, "precision": precision, "kernel": kernel, **used})
                print(ROW.format(**results[-1]))
    if options.json:
        about = {"measured": "resources of kernels", "nvrtc": nvrtc.version(), "threads_of_a_block": THREADS}
        machine.replace(options.json, {**about, "results": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
