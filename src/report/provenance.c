#include "config.h"
#include "report/provenance.h"
#include "base/clock.h"
#include "report/build_info.h"
#include <string.h>
#include <sys/utsname.h>

#ifdef __clang__
#define COMPILER_NAME "clang"
#else
#define COMPILER_NAME "gcc"
#endif

const char *provenance_version(void) {
  return BUILD_REVISION[0] ? PACKAGE_VERSION " (" BUILD_REVISION ")" : PACKAGE_VERSION;
}

void provenance_write(const char *const *libraries, int count, const char *device, const char *hosts,
                      struct text *out) {
  struct utsname system;
  char now[32];
  uname(&system);
  clock_format_now(now);
  text_append_format(out, "version: memclip %s\n", provenance_version());
  text_append_format(out, "configure: %s\n", BUILD_CONFIGURE[0] ? BUILD_CONFIGURE : "(no options)");
  text_append_format(out, "compiler: " COMPILER_NAME " %s, %s\n", __VERSION__, BUILD_COMPILER);
  text_append_string(out, "libraries: ");
  for (int i = 0; i < count; i++)
    text_append_format(out, "%s, ", libraries[i]);
  text_append_format(out, "%s\ndevice: %s\nhosts: %s\n", BUILD_LIBRARIES, device, hosts ? hosts : system.nodename);
  text_append_format(out, "system: %s %s %s\n", system.sysname, system.release, system.machine);
  text_append_format(out, "time: %s\n", now);
}
