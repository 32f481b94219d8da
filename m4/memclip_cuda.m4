dnl --with-cuda[=yes|no|check|PREFIX]: the toolkit with nvcc and cuBLASLt, and NCCL where its header is there. Default
dnl no.
dnl Sets NVCC, NVCC_FLAGS, CUDA_CODE_FLAGS, CUDA_CPPFLAGS, CUDA_LIBS, the conditional HAVE_CUDA, the macro HAVE_CUDA.
dnl And HAVE_CXX: whether the kernels can be compiled for the host, which the tests do without any toolkit.
AC_DEFUN([MEMCLIP_CUDA], [
AC_ARG_WITH([cuda], [AS_HELP_STRING([--with-cuda@<:@=yes|no|check|PREFIX@:>@],
  [build the CUDA device with the toolkit in PREFIX, $CUDA_HOME, the PATH or /usr/local/cuda;
   check: where there is one (default no)])],
  [], [with_cuda=no])
AC_ARG_VAR([CUDA_ARCHITECTURES], [compute capabilities to build for; PTX of the last one is added (default "80 90")])
AC_ARG_VAR([NVCC], [CUDA compiler])
AC_ARG_VAR([NVCC_FLAGS], [flags of the CUDA compiler])
AC_ARG_VAR([CUDA_CPPFLAGS], [preprocessor flags of the CUDA compiler, e.g. -I of NCCL])
: "${CUDA_ARCHITECTURES:=80 90}"
host_flags=-fPIC,-fvisibility=hidden,-Wall,-Wextra
: "${NVCC_FLAGS:=-std=c++17 -O3 -lineinfo -Xcompiler $host_flags -Xptxas -warn-spills,-warn-lmem-usage}"
have_cuda=no cuda_summary="no (configure --with-cuda)"
AS_CASE([$with_cuda], [no], [],
  [yes|check], [AC_PATH_PROGS([NVCC], [nvcc], [], [$CUDA_HOME/bin:$PATH:/usr/local/cuda/bin])],
  [AC_PATH_PROGS([NVCC], [nvcc], [], [$with_cuda/bin])])
AS_IF([test "x$with_cuda" != xno && test -n "$NVCC"], [
  cuda_prefix=`dirname "$NVCC"`
  cuda_prefix=`cd "$cuda_prefix/.." && pwd`
  CUDA_CODE_FLAGS=
  for cuda_architecture in $CUDA_ARCHITECTURES; do
    CUDA_CODE_FLAGS="$CUDA_CODE_FLAGS -gencode arch=compute_$cuda_architecture,code=sm_$cuda_architecture"
  done
  CUDA_CODE_FLAGS="$CUDA_CODE_FLAGS -gencode arch=compute_$cuda_architecture,code=compute_$cuda_architecture"
  CUDA_LIBS="-L$cuda_prefix/lib64 -Xlinker -rpath,$cuda_prefix/lib64 -lcublasLt"
  AC_MSG_CHECKING([whether $NVCC makes code for $CUDA_ARCHITECTURES and links cuBLASLt])
  cat >conftest.cu <<_ACEOF
#include <cublasLt.h>
__global__ void kernel(void) {}
int main(void) { kernel<<<1, 1>>>(); return cublasLtGetVersion() == 0; }
_ACEOF
  AS_IF([$NVCC $NVCC_FLAGS $CUDA_CODE_FLAGS -o conftest conftest.cu $CUDA_LIBS >&AS_MESSAGE_LOG_FD 2>&1],
    [have_cuda=yes])
  AC_MSG_RESULT([$have_cuda])
  rm -f conftest conftest.cu])
AS_IF([test "x$have_cuda" = xno && test "x$with_cuda" != xno && test "x$with_cuda" != xcheck],
  [AC_MSG_ERROR([--with-cuda: no working nvcc with cuBLASLt was found (config.log tells more);
load the CUDA module, or name its folder: --with-cuda=PREFIX])])
AS_IF([test "x$have_cuda" = xyes], [
  printf '#include <nccl.h>\nint main(void) { return NCCL_MAJOR < 2; }\n' >conftest.cu
  have_nccl=no
  AS_IF([$NVCC $NVCC_FLAGS $CUDA_CPPFLAGS -c -o conftest.o conftest.cu >&AS_MESSAGE_LOG_FD 2>&1],
    [have_nccl=yes CUDA_CPPFLAGS="$CUDA_CPPFLAGS -DHAVE_NCCL"])
  rm -f conftest.o conftest.cu
  cuda_summary="$NVCC for $CUDA_ARCHITECTURES, NCCL $have_nccl"
  AC_DEFINE([HAVE_CUDA], [1], [Define when the CUDA module is built])])
AM_CONDITIONAL([HAVE_CUDA], [test "x$have_cuda" = xyes])
AC_SUBST([CUDA_CODE_FLAGS])
AC_SUBST([CUDA_LIBS])
AC_LANG_PUSH([C++])
AC_MSG_CHECKING([whether $CXX compiles C++17])
saved_CXXFLAGS=$CXXFLAGS
CXXFLAGS="-std=gnu++17"
AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <vector>]], [[if constexpr (true) { std::vector<int> x; (void)x; }]])],
  [have_cxx=yes], [have_cxx=no])
CXXFLAGS=$saved_CXXFLAGS
AC_MSG_RESULT([$have_cxx])
AC_LANG_POP([C++])
AM_CONDITIONAL([HAVE_CXX], [test "x$have_cxx" = xyes])
AS_IF([test "x$enable_werror" = xyes], [WERROR_CXXFLAGS=-Werror])
AC_SUBST([WERROR_CXXFLAGS])
])
