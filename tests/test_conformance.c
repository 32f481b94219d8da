/* Every operation of the device interface against a double-precision reference: test_conformance [device] [--rounds N]
 * [--uninitialized]. The last leaves new memory as it is, for tools that look for reads of it; otherwise it is NaN. */
#include "conformance.h"
#include "base/memory.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct conformance_case *const groups[] = {conformance_harness,
                                                        conformance_linear,
                                                        conformance_pointwise,
                                                        conformance_norm,
                                                        conformance_embed,
                                                        conformance_loss,
                                                        conformance_optimizer,
                                                        conformance_attention,
                                                        conformance_memory,
                                                        conformance_expert,
                                                        conformance_slopes,
                                                        conformance_gate,
                                                        NULL};

int main(int count, char **argument) {
  struct device *device;
  const char *name = "cpu";
  int rounds = CONFORMANCE_ROUNDS;
  bool poison = true;
  for (int i = 1; i < count; i++)
    if (strcmp(argument[i], "--uninitialized") == 0)
      poison = false;
    else if (i + 1 < count && strcmp(argument[i], "--rounds") == 0)
      rounds = atoi(argument[++i]);
    else
      name = argument[i];
  memory_set_poison(poison);
  const enum status status = device_open(name, 2, &device);
  if (status == STATUS_SYSTEM && strcmp(name, "cpu") == 0) { /* an instruction set that is not here */
    printf("1..0 # SKIP %s\n", error_message());
    return 0;
  }
  if (status != STATUS_OK) {
    printf("Bail out! %s\n", error_message());
    return 1;
  }
  printf("# %s: %s\n", device->op->name, device->description);
  int number = 0, failed = 0;
  for (int i = poison ? 0 : 1; groups[i]; i++) /* the harness tests itself with poison */
    failed += conformance_run(device, groups[i], rounds, &number);
  device_close(device);
  size_t live = memory_report_live(true);
  printf("%s %d - nothing is left allocated\n", live ? "not ok" : "ok", ++number);
  printf("1..%d\n", number);
  return failed || live ? 1 : 0;
}
