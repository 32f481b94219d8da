/* Every operation of the device interface against a double-precision reference: test_conformance [device]. */
#include "conformance.h"
#include "base/memory.h"
#include <stdio.h>

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
  memory_set_poison(true);
  enum status status = device_open(count > 1 ? argument[1] : "cpu", 2, &device);
  if (status == STATUS_SYSTEM) {
    printf("1..0 # SKIP %s\n", error_message());
    return 0;
  }
  if (status != STATUS_OK) {
    printf("Bail out! %s\n", error_message());
    return 1;
  }
  printf("# %s: %s\n", device->op->name, device->description);
  int number = 0, failed = 0;
  for (int i = 0; groups[i]; i++)
    failed += conformance_run(device, groups[i], &number);
  device_close(device);
  size_t live = memory_report_live(true);
  printf("%s %d - nothing is left allocated\n", live ? "not ok" : "ok", ++number);
  printf("1..%d\n", number);
  return failed || live ? 1 : 0;
}
