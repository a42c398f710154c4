#!/bin/sh
# All checks and measurements that need a GPU, in three parts of at most ten minutes each.
#
#     sh benchmarks/gpu_session.sh check          # installed packages, tests, compute-sanitizer, times of kernels
#     sh benchmarks/gpu_session.sh train          # five networks, repeated runs with the same bits, the speed run
#     sh benchmarks/gpu_session.sh measure        # steps compared with PyTorch: eager, torch.compile, CUDA graph
#
# Results go to $OUT (default: runs/gpu); summary_PART.txt is written last. When a section fails or times out, the next
# one still runs. MNIST is read from $TINYCNN_DATA, else from .mnist or shared/mnist in this checkout. `check` lists
# missing packages and how to continue without them; a machine without a network needs their wheels.
# PYTHON=python3.12 selects another interpreter. For a short trial, set QUICK=1, and BACKEND=numba without a GPU.
set -u
cd "$(dirname "$0")/.."
part=${1:?name the part: check, train or measure}
out=${OUT:-runs/gpu}
python=${PYTHON:-python3}
backend=${BACKEND:-cupy}
mkdir -p "$out"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 PATH="$PATH:/usr/local/cuda/bin"
for folder in .mnist shared/mnist; do
    [ -z "${TINYCNN_DATA:-}" ] && [ -d "$folder" ] && export TINYCNN_DATA="$PWD/$folder"
done
if [ -n "${QUICK:-}" ]; then epochs='--epochs 1 --limit 2000'; else epochs=; fi
summary="$out/summary_$part.txt"

# section NAME SECONDS FILE COMMAND...: run the command, append its output to FILE and its exit code to the summary.
section() {
    name=$1 seconds=$2 log="$out/$3"
    shift 3
    echo "== $name" >>"$log"
    timeout "$seconds" sh benchmarks/gpu_session.sh run "$@" >>"$log" 2>&1 # timeout cannot run shell functions
    code=$?
    echo "$name: exit code $code" | tee -a "$summary"
}

# Succeed if Python finds the package $1.
has() { $python -c 'import sys, importlib.util as i; sys.exit(i.find_spec(sys.argv[1]) is None)' "$1"; }

# Print the versions of the installed packages, and for each missing package how to continue without it.
packages() {
    [ -n "${TINYCNN_DATA:-}" ] || echo 'MNIST is missing: put its four files into .mnist, or most of train fails'
    $python - "$backend" <<'END'
import importlib.metadata, importlib.util, sys

needed = "numpy numba threadpoolctl safetensors tqdm PIL matplotlib sklearn hypothesis pytest".split()
without = {"torch": "tinycnn is measured alone", "onnx": "its tests are skipped"}
without["xdist"] = "the tests run in one process, and may time out"
without |= dict.fromkeys([*needed, *["cupy"][: sys.argv[1] == "cupy"]], "pip install --no-index --find-links WHEELS")
missing = [name for name in without if importlib.util.find_spec(name) is None]
for name in missing:
    print(f"{name} is missing: {without[name]}")
for found in importlib.metadata.distributions():
    if found.name.lower().startswith(("numpy", "numba", "cupy", "torch", "onnx", "pytest", "nvidia-c")):
        print(found.name, found.version)
sys.exit(any(without[name].startswith("pip") for name in missing))
END
}

# The tests that need a GPU. Packages may be newer than the tested versions, so warnings are shown and are not errors.
tests() {
    workers=
    if has xdist; then workers='-n 8'; fi
    $python -m pytest -q $workers --maxfail 40 --continue-on-collection-errors -W default -p no:cacheprovider \
        --require-cupy -k 'cupy and not emulated' ${QUICK:+--collect-only}
}

# Train without plots and display; print the result and the SHA-256 of the model file.
trained() {
    $python examples/train_mnist.py --backend "$backend" --dataset mnist --quiet --no-plots --output "$scratch/run" "$@" &&
        $python -c 'import sys, hashlib; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' \
            "$scratch/run/model.safetensors"
    code=$?
    rm -rf "$scratch/run"
    return $code
}

# Train three times, twice with capture and once without: all hashes must be equal.
same_bits() {
    model=$1
    for options in '' '' --no-capture; do
        trained --model "$model" --epochs 1 ${QUICK:+--limit 2000} $options | tail -n 1
    done | sort | uniq -c | tee "$scratch/hashes"
    [ "$(wc -l <"$scratch/hashes")" = 1 ] && grep -q '^ *3 [0-9a-f]\{64\}$' "$scratch/hashes"
}

# A short training run under one of NVIDIA's tools. Without a memory pool, the tool detects reads past an allocation.
under() {
    cat >"$scratch/short.py" <<'END'
import sys

import cupy

sys.path.insert(0, "examples")
import train_mnist

cupy.cuda.set_allocator(None)
options = "--backend cupy --dataset digits --limit 96 --epochs 1 --batch-size 32 --no-capture --quiet --no-plots"
sys.exit(train_mnist.main([*options.split(), *sys.argv[2:], "--output", sys.argv[1]]))
END
    options=$1
    shift
    "$@" $python "$scratch/short.py" "$scratch/short" $options
}

if [ "$part" = run ]; then
    shift
    "$@"
    exit
fi
scratch=$(mktemp -d)
export scratch
trap 'rm -rf "$scratch"' EXIT
: >"$summary"

case $part in
check)
    nvidia-smi >"$out/machine.txt" 2>&1
    section packages 30 machine.txt packages
    section doctor 60 machine.txt $python -m tinycnn doctor
    section tests 290 tests.txt tests
    if command -v compute-sanitizer >/dev/null; then
        for tool in memcheck racecheck; do
            section "$tool keras_cnn" 45 sanitizer.txt under '--model keras_cnn' \
                compute-sanitizer --tool $tool --error-exitcode 9
            section "$tool batchnorm_cnn" 45 sanitizer.txt under '--model batchnorm_cnn' \
                compute-sanitizer --tool $tool --error-exitcode 9
        done
    else
        echo 'compute-sanitizer: not installed' | tee -a "$summary"
    fi
    if command -v ncu >/dev/null; then
        section 'times of kernels' 40 kernel_times.csv under '--model keras_cnn --batch-size 128 --limit 384' \
            ncu --clock-control none --metrics gpu__time_duration.sum --csv
    else
        echo 'ncu: not installed' | tee -a "$summary"
    fi
    ;;
train)
    for model in lenet keras_cnn batchnorm_cnn single_conv three_conv; do
        section "train $model" 45 training.txt trained --model "$model" $epochs
    done
    section 'train batchnorm_cnn, best recipe' 60 training.txt trained --model batchnorm_cnn --recipe best $epochs
    for model in keras_cnn batchnorm_cnn three_conv; do
        section "same bits, with and without capture: $model" 45 same_bits.txt same_bits "$model"
    done
    section 'speed run' 50 speedrun.txt $python examples/speedrun.py --backend "$backend" --seeds "${QUICK:-5}"
    if $python -c "import sys, tinycnn; sys.exit(tinycnn.use_backend('$backend').backend.tf32 is None)"; then
        section 'train keras_cnn, TF32' 30 training.txt trained --model keras_cnn --tf32 $epochs
        section 'speed run, TF32' 50 speedrun.txt $python examples/speedrun.py --backend "$backend" --tf32 --seeds 5
    fi
    ;;
measure)
    modes='eager channels_last'
    if [ "$backend" = cupy ]; then modes="$modes graph"; fi
    measured="$python benchmarks/train_step.py --backend $backend --precision float32 tf32 --turns 5 --limit 20480"
    measured="$measured ${QUICK:+--limit 4096 --turns 2} --model lenet keras_cnn batchnorm_cnn single_conv three_conv"
    if has torch; then measured="$measured --against torch"; else echo 'torch: not installed' | tee -a "$summary"; fi
    section 'steps, batch 128' 190 steps.txt $measured --torch-modes $modes --batch-size 128 --json "$out/steps_128.json"
    section 'steps, batch 64 and 512' 210 steps.txt $measured --torch-modes $modes --batch-size 64 512 \
        --json "$out/steps_64_512.json"
    if has torch; then
        section 'steps, torch.compile' 195 steps.txt $measured --torch-modes compile --batch-size 128 \
            --json "$out/steps_compile.json"
    fi
    ;;
*)
    echo "unknown part $part: check, train or measure" >&2
    exit 2
    ;;
esac
cat "$summary"
! grep -qv 'exit code 0$' "$summary"
