dnl MEMCLIP_LIBRARY(NAME, VAR, PKG-CONFIG MODULE, FLAGS TO LINK WITH, INCLUDES, STATEMENTS, DEBIAN PACKAGE,
dnl                 [OPTIONAL USE])
dnl Adds --with-NAME and sets VAR_CFLAGS, VAR_LIBS, VAR_FOUND (a line of the closing summary) and have_NAME. The
dnl argument of the option:
dnl   check   take it where it is found                       (the default of a library that has an OPTIONAL USE)
dnl   yes     take it from pkg-config, or from where the compiler looks, or stop    (the default of the others)
dnl   PREFIX  take it from PREFIX/include and PREFIX/lib or lib64, or stop
dnl   no      do without                                      (only with an OPTIONAL USE)
dnl STATEMENTS must compile and link; they are what the version is checked with.
AC_DEFUN([MEMCLIP_LIBRARY], [
AC_ARG_WITH([$1], [AS_HELP_STRING([--with-$1@<:@=]m4_ifval([$8], [yes|no|check|], [])[PREFIX@:>@],
  [$1]m4_ifval([$8], [ ($8; default: check)], []))], [], [with_$1=]m4_ifval([$8], [check], [yes]))
have_$1=no
$2_CFLAGS= $2_LIBS= $2_FOUND="not used"
m4_ifval([$8], [], [AS_IF([test "x$with_$1" = xno], [AC_MSG_ERROR([memclip cannot do without $1])])])
AS_CASE([$with_$1],
  [no], [],
  [yes|check], [
    AS_IF([$PKG_CONFIG --exists "$3" 2>/dev/null], [
      $2_CFLAGS=`$PKG_CONFIG --cflags "$3"` $2_LIBS=`$PKG_CONFIG --libs "$3"`
      $2_FOUND=`$PKG_CONFIG --modversion "$3" | head -n 1`" (pkg-config)"],
      [$2_LIBS="$4" $2_FOUND="found by the compiler"])
    MEMCLIP_TRY_LINK([$1], [$2], [$5], [$6])],
  [for lib in lib64 lib; do
     AS_IF([test $have_$1 = no && test -d "$with_$1/$lib"], [
       $2_CFLAGS="-I$with_$1/include" $2_LIBS="-L$with_$1/$lib -Wl,-rpath,$with_$1/$lib $4" $2_FOUND="$with_$1"
       MEMCLIP_TRY_LINK([$1], [$2], [$5], [$6])])
   done])
AS_IF([test $have_$1 = no && test "x$with_$1" != xno], [
  AS_IF([test "x$with_$1" = xcheck], [$2_CFLAGS= $2_LIBS= $2_FOUND="not found"],
    [AC_MSG_ERROR([$1 is missing, too old or does not link (config.log tells why).
Install it (Debian: $7), load its module, or say --with-$1=PREFIX])])])
AC_SUBST([$2_CFLAGS])
AC_SUBST([$2_LIBS])
])

dnl MEMCLIP_TRY_LINK(NAME, VAR, INCLUDES, STATEMENTS): sets have_NAME.
AC_DEFUN([MEMCLIP_TRY_LINK], [
AC_MSG_CHECKING([for $1])
memclip_CFLAGS=$CFLAGS memclip_LIBS=$LIBS
CFLAGS="$CFLAGS $$2_CFLAGS" LIBS="$$2_LIBS $LIBS"
AC_LINK_IFELSE([AC_LANG_PROGRAM([$3], [$4])], [have_$1=yes], [have_$1=no])
CFLAGS=$memclip_CFLAGS LIBS=$memclip_LIBS
AS_IF([test $have_$1 = yes], [AC_MSG_RESULT([$$2_FOUND])], [AC_MSG_RESULT([no])])
])
