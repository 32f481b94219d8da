dnl --with-cuda[=yes|no|check|PREFIX]: the toolkit with nvcc and cuBLASLt; default no.
dnl --with-nccl[=check|no|PREFIX]: NCCL's header, all that building needs: the library is opened at run time. Default
dnl check.
dnl Sets NVCC, NVCC_FLAGS, CUDA_CODE_FLAGS, CUDA_CPPFLAGS, CUDA_LIBS, the conditional HAVE_CUDA, the macro HAVE_CUDA.
dnl And HAVE_CXX: whether the kernels can be compiled for the host, which the tests do without any toolkit.
AC_DEFUN([MEMCLIP_CUDA], [
AC_ARG_WITH([cuda], [AS_HELP_STRING([--with-cuda@<:@=yes|no|check|PREFIX@:>@],
  [build the CUDA device with the toolkit in PREFIX, $CUDA_HOME, $CUDA_PATH, $CUDA_ROOT, the PATH, where pkg-config
   knows one, or /usr/local/cuda; check: where there is one (default no)])],
  [], [with_cuda=no])
AC_ARG_WITH([nccl], [AS_HELP_STRING([--with-nccl@<:@=check|no|PREFIX@:>@],
  [build the CUDA device with sums between GPUs by NCCL 2.17 or later, whose header is in PREFIX/include or where nvcc
   looks (default check)])],
  [], [with_nccl=check])
AC_ARG_VAR([CUDA_ARCHITECTURES], [compute capabilities to build for; PTX of the last one is added (default "80 90")])
AC_ARG_VAR([NVCC], [CUDA compiler])
AC_ARG_VAR([NVCC_FLAGS], [flags of the CUDA compiler])
AC_ARG_VAR([CUDA_CPPFLAGS], [preprocessor flags of the CUDA compiler])
AC_ARG_VAR([CUDA_LIBS], [how to link cuBLASLt (default: -lcublasLt from the folder of the CUDA compiler)])
: "${CUDA_ARCHITECTURES:=80 90}"
host_flags=-fPIC,-fvisibility=hidden,-Wall,-Wextra
: "${NVCC_FLAGS:=-std=c++17 -O3 -lineinfo -Xcompiler $host_flags -Xptxas -warn-spills,-warn-lmem-usage}"
have_cuda=no cuda_summary="no (configure --with-cuda)" cuda_problem=
AS_CASE([$with_cuda], [no], [],
  [yes|check], [
    dnl the newest of cudart-13.0, cudart-12.4, cudart, cuda-13.0 ... that pkg-config knows
    cuda_module=`$PKG_CONFIG --list-all 2>/dev/null |
      sed -n 's/^\(cuda\(rt\)\{0,1\}\(-@<:@0-9.@:>@*\)\{0,1\}\) .*/\1/p' | sort -t - -k 2,2V | tail -n 1`
    cuda_known=
    AS_IF([test -n "$cuda_module"], [
      for cuda_variable in cudaroot prefix; do
        test -n "$cuda_known" || cuda_known=`$PKG_CONFIG --variable=$cuda_variable "$cuda_module" 2>/dev/null`
      done])
    cuda_path=$PATH
    for cuda_folder in "$CUDA_ROOT" "$CUDA_PATH" "$CUDA_HOME"; do
      test -z "$cuda_folder" || cuda_path=$cuda_folder/bin:$cuda_path
    done
    test -z "$cuda_known" || cuda_path=$cuda_path:$cuda_known/bin
    AC_PATH_PROGS([NVCC], [nvcc], [], [$cuda_path:/usr/local/cuda/bin])
    test -n "$NVCC" || cuda_problem="no nvcc in \$CUDA_HOME/bin, the PATH, pkg-config's folder or /usr/local/cuda/bin"],
  [AC_PATH_PROGS([NVCC], [nvcc], [], [$with_cuda/bin])
   test -n "$NVCC" || cuda_problem="no nvcc in $with_cuda/bin"])
AS_IF([test "x$with_cuda" != xno && test -n "$NVCC"], [
  dnl nvcc may be a link or a script of a module: it knows itself where it lies
  echo >conftest.cu
  cuda_prefix=`$NVCC --dryrun -c conftest.cu 2>&1 | sed -n 's/^#@S|@ *TOP=//p'`
  rm -f conftest.cu
  test -d "$cuda_prefix" || cuda_prefix=`dirname "$NVCC"`/..
  cuda_prefix=`cd "$cuda_prefix" && pwd`
  CUDA_CODE_FLAGS=
  for cuda_architecture in $CUDA_ARCHITECTURES; do
    CUDA_CODE_FLAGS="$CUDA_CODE_FLAGS -gencode arch=compute_$cuda_architecture,code=sm_$cuda_architecture"
  done
  CUDA_CODE_FLAGS="$CUDA_CODE_FLAGS -gencode arch=compute_$cuda_architecture,code=compute_$cuda_architecture"
  AS_IF([test -z "$CUDA_LIBS"], [
    dnl the last one is where NVIDIA's HPC SDK keeps it
    for cuda_folder in lib64 lib targets/x86_64-linux/lib ../../math_libs/lib64; do
      test ! -d "$cuda_prefix/$cuda_folder" ||
        CUDA_LIBS="$CUDA_LIBS -L$cuda_prefix/$cuda_folder -Xlinker -rpath,$cuda_prefix/$cuda_folder"
    done
    CUDA_LIBS="$CUDA_LIBS -lcublasLt"])
  test ! -d "$cuda_prefix/../../math_libs/include" ||
    CUDA_CPPFLAGS="$CUDA_CPPFLAGS -I$cuda_prefix/../../math_libs/include"
  AC_MSG_CHECKING([whether $NVCC makes code for $CUDA_ARCHITECTURES])
  printf '__global__ void kernel(void) {}\nint main(void) { kernel<<<1, 1>>>(); return 0; }\n' >conftest.cu
  AS_IF([$NVCC $NVCC_FLAGS $CUDA_CODE_FLAGS -o conftest conftest.cu >&AS_MESSAGE_LOG_FD 2>&1],
    [have_cuda=yes],
    [cuda_problem="$NVCC makes no code for CUDA_ARCHITECTURES='$CUDA_ARCHITECTURES' with this compiler"])
  AC_MSG_RESULT([$have_cuda])
  AS_IF([test $have_cuda = yes], [
    AC_MSG_CHECKING([for cuBLASLt of CUDA 12.1 or later])
    dnl 12.0 makes mistakes in products of bf16 whose rows are slices of longer ones
    printf '#include <cublasLt.h>\n#if CUBLAS_VERSION < 120100\n#error too old\n#endif\n%s\n' \
      'int main(void) { return cublasLtGetVersion() == 0; }' >conftest.cu
    AS_IF([$NVCC $NVCC_FLAGS $CUDA_CPPFLAGS -o conftest conftest.cu $CUDA_LIBS >&AS_MESSAGE_LOG_FD 2>&1], [],
      [have_cuda=no
       cuda_problem="no cublasLt.h of CUDA 12.1 or later with libcublasLt beside $NVCC: set CUDA_CPPFLAGS, CUDA_LIBS"])
    AC_MSG_RESULT([$have_cuda])])
  rm -f conftest conftest.cu])
AS_IF([test "x$have_cuda" = xno && test "x$with_cuda" != xno && test "x$with_cuda" != xcheck],
  [AC_MSG_ERROR([--with-cuda: $cuda_problem (config.log tells more);
load the CUDA module, or name its folder: --with-cuda=PREFIX])])
AS_IF([test -n "$cuda_problem"], [cuda_summary="no: $cuda_problem"])
AS_IF([test "x$have_cuda" = xyes], [
  AS_CASE([$with_nccl], [no|yes|check], [], [CUDA_CPPFLAGS="$CUDA_CPPFLAGS -I$with_nccl/include"])
  have_nccl=no
  AS_IF([test "x$with_nccl" != xno], [
    AC_MSG_CHECKING([for NCCL 2.17 or later])
    printf '#include <nccl.h>\n#if NCCL_VERSION_CODE < NCCL_VERSION(2, 17, 0)\n#error too old\n#endif\n' >conftest.cu
    AS_CASE([$with_nccl], [yes|check], [cuda_folder=], [cuda_folder=$with_nccl/include/nccl.h])
    AS_IF([{ test -z "$cuda_folder" || test -f "$cuda_folder"; } &&
           $NVCC $NVCC_FLAGS $CUDA_CPPFLAGS -c -o conftest.o conftest.cu >&AS_MESSAGE_LOG_FD 2>&1],
      [have_nccl=yes CUDA_CPPFLAGS="$CUDA_CPPFLAGS -DHAVE_NCCL"])
    AC_MSG_RESULT([$have_nccl])
    rm -f conftest.o conftest.cu
    AS_IF([test $have_nccl = no && test "x$with_nccl" != xcheck],
      [AC_MSG_ERROR([--with-nccl: no nccl.h of NCCL 2.17 or later was found (config.log tells more);
load its module and name its folder: --with-nccl=PREFIX])])])
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
