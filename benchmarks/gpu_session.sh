#!/bin/sh
# Everything owed on a machine with a GPU, for one that is borrowed for minutes: three parts, each within ten minutes.
#
#     sh benchmarks/gpu_session.sh check          # what is there, the tests, compute-sanitizer
#     sh benchmarks/gpu_session.sh train          # five networks, the same bits twice, the speed run
#     sh benchmarks/gpu_session.sh measure        # steps against PyTorch: eager, torch.compile, CUDA graph
#
# Results go to $OUT (default: runs/gpu), few files, and summary.txt last. A section that fails or takes too long does
# not keep the next one from running. MNIST is taken from $TINYCNN_DATA, else from .mnist or shared/mnist here.
# Another interpreter: PYTHON=python3.12. Shorter, to try it out: QUICK=1. Another backend, likewise: BACKEND=numba.
set -u
cd "$(dirname "$0")/.."
part=${1:?which part: check, train or measure}
out=${OUT:-runs/gpu}
python=${PYTHON:-python3}
backend=${BACKEND:-cupy}
mkdir -p "$out"
export PYTHONPATH="$PWD" PYTHONUNBUFFERED=1
for folder in .mnist shared/mnist; do
    [ -z "${TINYCNN_DATA:-}" ] && [ -d "$folder" ] && export TINYCNN_DATA="$PWD/$folder"
done
if [ -n "${QUICK:-}" ]; then epochs='--epochs 1 --limit 2000'; else epochs=; fi
summary="$out/summary_$part.txt"

# section NAME SECONDS FILE COMMAND...: run it, keep what it prints in FILE, note how it ended.
section() {
    name=$1 seconds=$2 log="$out/$3"
    shift 3
    echo "== $name" >>"$log"
    timeout "$seconds" sh benchmarks/gpu_session.sh run "$@" >>"$log" 2>&1 # timeout knows no shell functions
    code=$?
    echo "$name: exit code $code" | tee -a "$summary"
}

# A training without plots and display; prints the result and the hash of the weights.
trained() {
    $python examples/train_mnist.py --backend "$backend" --dataset mnist --quiet --no-plots --output "$scratch/run" "$@" &&
        $python -c 'import sys, hashlib; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' \
            "$scratch/run/model.safetensors"
    code=$?
    rm -rf "$scratch/run"
    return $code
}

# The same training under several names of options: all hashes must be equal.
same_bits() {
    model=$1
    for options in '' '' --no-capture; do
        trained --model "$model" --epochs 1 ${QUICK:+--limit 2000} $options | tail -n 1
    done | sort | uniq -c | tee "$scratch/hashes"
    [ "$(wc -l <"$scratch/hashes")" = 1 ] && grep -q '^ *3 [0-9a-f]\{64\}$' "$scratch/hashes"
}

# Kernels of one short training, each allocation by itself, so that reading past its end is noticed.
sanitized() {
    tool=$1
    cat >"$scratch/short.py" <<'END'
import sys

import cupy

sys.path.insert(0, "examples")
import train_mnist

cupy.cuda.set_allocator(None)
options = "--backend cupy --dataset digits --limit 96 --epochs 1 --batch-size 32 --no-capture --quiet --no-plots"
sys.exit(train_mnist.main([*options.split(), *sys.argv[1:]]))
END
    shift
    compute-sanitizer --tool "$tool" --error-exitcode 9 $python "$scratch/short.py" --output "$scratch/short" "$@"
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
    section doctor 100 machine.txt $python -m tinycnn doctor
    if command -v compute-sanitizer >/dev/null; then
        for model in keras_cnn batchnorm_cnn; do
            section "memcheck $model" 60 sanitizer.txt sanitized memcheck --model "$model"
            section "racecheck $model" 60 sanitizer.txt sanitized racecheck --model "$model"
        done
    else
        echo 'compute-sanitizer: not here' | tee -a "$summary"
    fi
    section tests 250 tests.txt $python -m pytest -q -x --require-cupy -k 'cupy and not emulated' -p no:cacheprovider \
        ${QUICK:+--collect-only}
    ;;
train)
    for model in lenet keras_cnn batchnorm_cnn single_conv three_conv; do
        section "train $model" 45 training.txt trained --model "$model" $epochs
    done
    section 'train batchnorm_cnn, best recipe' 60 training.txt trained --model batchnorm_cnn --recipe best $epochs
    for model in keras_cnn batchnorm_cnn three_conv; do
        section "same bits twice, and without capture: $model" 45 same_bits.txt same_bits "$model"
    done
    section 'speed run' 50 speedrun.txt $python examples/speedrun.py --backend "$backend" --seeds "${QUICK:-5}"
    if $python -c "import sys, tinycnn; sys.exit(tinycnn.use_backend('$backend').backend.tf32 is None)"; then
        section 'train keras_cnn, TF32' 30 training.txt trained --model keras_cnn --tf32 $epochs
        section 'speed run, TF32' 50 speedrun.txt $python examples/speedrun.py --backend "$backend" --tf32 --seeds 5
    fi
    ;;
measure)
    all="lenet keras_cnn batchnorm_cnn single_conv three_conv"
    measured="$python benchmarks/train_step.py --backend cupy --against torch --precision float32 tf32"
    section 'steps, eager and graph' 300 steps.txt $measured --torch-modes eager channels_last graph --turns 3 \
        --model $all --batch-size 64 128 512 --json "$out/train_step_gpu.json" ${QUICK:+--limit 4096}
    section 'steps, torch.compile' 250 steps.txt $measured --torch-modes compile --turns 3 \
        --model $all --batch-size 128 --json "$out/train_step_gpu_compile.json" ${QUICK:+--limit 4096}
    ;;
*)
    echo "unknown part $part: check, train or measure" >&2
    exit 2
    ;;
esac
cat "$summary"
! grep -qv 'exit code 0$' "$summary"
