#!/usr/bin/env bash
# The tests of numerics, once under each instruction set that torch and oneDNN can be held to, with one thread and
# with two, and once with matrix products that add one term after another (tests/serial_products.py).
set -euo pipefail
cd "$(dirname "$0")/.."

python=.venv/bin/python
tests=(
    tests/kernels
    tests/trainers/test_forward.py tests/trainers/test_losses.py tests/trainers/test_optimizer.py
    tests/trainers/test_apart.py
    tests/agents/test_embedded_engine.py tests/agents/test_fused.py tests/agents/test_own_cache.py
    tests/agents/test_sampling.py
)
available=$("$python" -c 'import torch; print(torch.backends.cpu.get_cpu_capability().lower())')

run() { # NAME, ENVIRONMENT..., [-- OPTIONS...]
    local name=$1 began=$SECONDS environment=()
    shift
    while (($#)) && [[ $1 != -- ]]; do environment+=("$1"); shift; done
    (($#)) && shift
    env "${environment[@]}" "$python" -m pytest -n 2 --deselect tests/kernels/test_compilation.py "$@" "${tests[@]}"
    echo "$name: passed in $((SECONDS - began)) s"
}

run 'default instructions, one thread' ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 OMP_NUM_THREADS=1
case $available in avx2 | avx512)
    run 'avx2, two threads' ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 OMP_NUM_THREADS=2 \
        OMP_WAIT_POLICY=passive ;; # or threads of two processes wait for each other in busy loops
*) echo 'avx2: left out, since this processor does not have it' ;;
esac
case $available in avx512)
    run 'avx512, one thread' ATEN_CPU_CAPABILITY=avx512 ONEDNN_MAX_CPU_ISA=AVX512_CORE OMP_NUM_THREADS=1 ;;
*) echo 'avx512: left out, since this processor does not have it' ;;
esac
run 'serial matrix products' OMP_NUM_THREADS=1 -- --serial-products
