# Sourced: which CUDA device a test is about. CUDA_MODULE names the module (make check-gpu), and then a device that is
# not there is a failure; else it is the emulated one, where there is a C++ compiler.
MEMCLIP_CUDA_MODULE=${CUDA_MODULE:-${builddir:-$PWD}/memclip_cuda_emulated.so}
export MEMCLIP_CUDA_MODULE
if [ -z "${CUDA_MODULE:-}" ] && [ ! -f "$MEMCLIP_CUDA_MODULE" ]; then
  echo "1..0 # SKIP no C++ compiler: the CUDA kernels are not built for the host"
  exit 0
fi
