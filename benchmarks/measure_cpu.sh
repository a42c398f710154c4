#!/bin/sh
# Measures everything that docs/performance.md says about the CPU, and writes its tables.
#
#     sh benchmarks/measure_cpu.sh [FOLDER]      # default: measured_cpu; needs PyTorch, and an idle machine
#
# Each part writes one file to FOLDER, and is skipped where that file exists: run it again after an interruption, or
# delete a file to measure it again. The files are copied to benchmarks/results at the end, and the tables written.
# The minutes are those on two cores; the last part compiles kernels for other vector widths, which takes as long again.
set -u
cd "$(dirname "$0")/.." || exit 1
folder=${1:-measured_cpu}
python=${PYTHON:-python}
cores=$($python -c 'import os; print(os.cpu_count())')
mkdir -p "$folder"
failed=0

# part NAME COMMAND…: runs the command, which writes FOLDER/NAME.json.
part() {
    name=$1
    shift
    [ -f "$folder/$name.json" ] && return
    started=$(date +%s)
    echo "== $name: $*"
    if "$@" --json "$folder/$name.json"; then
        echo "== $name took $(($(date +%s) - started)) s"
    else
        echo "== $name FAILED"
        failed=1
    fi
}

steps="$python benchmarks/train_step.py --against torch"
three="lenet single_conv three_conv"

# shellcheck disable=SC2086  # the commands are split into words
{
    part step_table_cpu $python benchmarks/step_table.py                                            # 0:10
    part train_step_cpu_1thread $steps --threads 1                                                  # 1:30
    part train_step_cpu_2threads $steps --threads "$cores" --backend numba numba-python numpy       # 2:00
    part inference_cpu_2threads $steps --threads "$cores" --inference --batch-size 256 \
        --torch-modes eager channels_last frozen                                                    # 1:45
    part inference_cpu_1thread $steps --threads 1 --inference --batch-size 256 \
        --torch-modes eager channels_last frozen                                                    # 1:45
    part train_step_cpu_2threads_batch128 $steps --threads "$cores" --batch-size 128 --model $three # 0:50
    part train_step_cpu_busy $steps --threads "$cores" --model lenet keras_cnn --busy 4 --turns 3   # 1:00
    part train_step_cpu_modes $steps --threads "$cores" --model lenet keras_cnn batchnorm_cnn --turns 3 \
        --torch-modes eager channels_last compile bfloat16                                          # 2:00
    for lanes in 8 4 0; do                                                                          # 3 x 1:00
        part train_step_cpu_${lanes}lanes env TINYCNN_SIMD_LANES=$lanes $steps --threads "$cores" --turns 3
    done
}

[ $failed = 0 ] || { echo "some parts failed; run the script again"; exit 1; }
cp "$folder"/*.json benchmarks/results/
$python benchmarks/tables.py --write
echo "the tables of docs/performance.md are those of $folder"
