/* The CPU device: its table, its memory and its scratch blocks. */
#include "device/cpu/cpu.h"
#include "base/host_memory.h"
#include "base/memory.h"
#include "base/thread.h"
#include "device/cpu/onednn.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void *cpu_allocate(struct device *self, size_t bytes, const char *label) {
  (void)self;
  void *block = memory_allocate(bytes, label);
  if (memory_is_poisoned())
    memset(block, 0xff, bytes);
  return block;
}

/* A later block may lie where a packed weight was, so the packed copies go with the memory. */
static void cpu_release(struct device *self, void *block) {
  onednn_forget_weights(cpu_from_device(self)->onednn);
  memory_release(block);
}

void cpu_weights_written(struct cpu_device *cpu, const void *from, size_t bytes) {
  onednn_weights_written(cpu->onednn, from, bytes);
}

static void cpu_copy(struct device *self, void *to, const void *from, size_t bytes) {
  if (bytes)
    memmove(to, from, bytes);
  cpu_weights_written(cpu_from_device(self), to, bytes);
}

static void *cpu_allocate_pinned(struct device *self, size_t bytes, const char *label) {
  (void)self;
  return memory_allocate(bytes, label);
}
static void cpu_release_pinned(struct device *self, void *block) {
  (void)self;
  memory_release(block);
}
static void cpu_upload(struct device *self, int lane, void *to, const void *from, size_t bytes) {
  (void)lane;
  cpu_copy(self, to, from, bytes);
}
/* An upload has happened when it returns. */
static void cpu_upload_event(struct device *self, int lane) {
  (void)self;
  (void)lane;
}

static void cpu_zero(struct device *self, void *block, size_t bytes) {
  if (bytes)
    memset(block, 0, bytes);
  cpu_weights_written(cpu_from_device(self), block, bytes);
}

static void cpu_synchronize(struct device *self) {
  (void)self;
}

/* Nothing is gained by repeating what the host does itself. */
static bool cpu_record(struct device *self, uint64_t key) {
  (void)self;
  (void)key;
  return false;
}

static void cpu_forget_weights(struct device *self) {
  onednn_forget_weights(cpu_from_device(self)->onednn);
}

/* No profiler of CPUs is told. */
static void cpu_range_begin(struct device *self, const char *name) {
  (void)self;
  (void)name;
}
static void cpu_range_end(struct device *self) {
  (void)self;
}

/* The node: all its ranks share its memory. */
static void cpu_identify(struct device *self, uint8_t id[DEVICE_ID_BYTES]) {
  (void)self;
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  memset(id, 0, DEVICE_ID_BYTES);
  for (size_t i = 0; host[i]; i++)
    id[i % DEVICE_ID_BYTES] = (uint8_t)(31 * id[i % DEVICE_ID_BYTES] + (uint8_t)host[i]);
}
static void cpu_memory_free(struct device *self, size_t *free_bytes, size_t *total_bytes) {
  (void)self;
  *free_bytes = host_memory_free(total_bytes);
}
static void cpu_enter_thread(struct device *self) {
  (void)self;
}

static void cpu_close(struct device *self) {
  struct cpu_device *cpu = cpu_from_device(self);
  onednn_close(cpu->onednn);
  for (int i = 0; i < CPU_SCRATCH_COUNT; i++)
    memory_release(cpu->scratch[i].block);
  memory_release(cpu);
}

static const struct device_operations cpu_operations = {
    .name = "cpu",
    .allocate = cpu_allocate,
    .release = cpu_release,
    .copy_in = cpu_copy,
    .copy_out = cpu_copy,
    .copy = cpu_copy,
    .allocate_pinned = cpu_allocate_pinned,
    .release_pinned = cpu_release_pinned,
    .upload = cpu_upload,
    .upload_finish = cpu_upload_event,
    .upload_again = cpu_upload_event,
    .upload_wait = cpu_upload_event,
    .zero = cpu_zero,
    .synchronize = cpu_synchronize,
    .record = cpu_record,
    .submit = cpu_synchronize,
    .forget_weights = cpu_forget_weights,
    .identify = cpu_identify,
    .memory_free = cpu_memory_free,
    .enter_thread = cpu_enter_thread,
    .range_begin = cpu_range_begin,
    .range_end = cpu_range_end,
    .linear = cpu_linear,
    .linear_data_gradient = cpu_linear_data_gradient,
    .linear_weight_gradient = cpu_linear_weight_gradient,
    .attention = cpu_attention,
    .attention_backward = cpu_attention_backward,
    .memory_select = cpu_memory_select,
    .memory_select_backward = cpu_memory_select_backward,
    .memory_read = cpu_memory_read,
    .memory_read_backward = cpu_memory_read_backward,
    .expert_read = cpu_expert_read,
    .expert_read_backward = cpu_expert_read_backward,
    .dropout = cpu_dropout,
    .gate = cpu_gate,
    .gate_backward = cpu_gate_backward,
    .token_gate = cpu_token_gate,
    .token_gate_backward = cpu_token_gate_backward,
    .pool = cpu_pool,
    .pool_backward = cpu_pool_backward,
    .pool_average = cpu_pool_average,
    .pool_average_backward = cpu_pool_average_backward,
    .fill = cpu_fill,
    .cast = cpu_cast,
    .add = cpu_add,
    .clamp = cpu_clamp,
    .activation = cpu_activation,
    .activation_backward = cpu_activation_backward,
    .norm = cpu_norm,
    .norm_backward = cpu_norm_backward,
    .patchify = cpu_patchify,
    .image_embed = cpu_image_embed,
    .image_embed_backward = cpu_image_embed_backward,
    .text_embed = cpu_text_embed,
    .text_embed_backward = cpu_text_embed_backward,
    .normalize = cpu_normalize,
    .normalize_backward = cpu_normalize_backward,
    .distill = cpu_distill,
    .contrastive_normalisers = cpu_contrastive_normalisers,
    .contrastive = cpu_contrastive,
    .adamw = cpu_adamw,
    .adamw_squares = cpu_adamw_squares,
    .close = cpu_close,
};

void *cpu_scratch(struct cpu_device *cpu, enum cpu_scratch_slot slot, size_t bytes) {
  struct cpu_scratch *scratch = &cpu->scratch[slot];
  if (bytes > scratch->bytes) {
    memory_release(scratch->block);
    scratch->block = cpu_allocate(&cpu->device, bytes, "CPU scratch");
    scratch->bytes = bytes;
  }
  return scratch->block;
}

enum status cpu_open(int threads, struct device **device) {
  enum isa isa;
  TRY(cpu_detect_isa(&isa));
  struct cpu_device *cpu = memory_allocate(sizeof *cpu, "CPU device");
  cpu->device.op = &cpu_operations;
  cpu->device.memory_is_host = true;
  cpu->device.threads = threads > 0 ? threads : thread_count_available();
  cpu->device.bf16_is_storage_only = isa != ISA_AVX512BF16;
  cpu->isa = isa;
  cpu->kernel = cpu_isa_kernels(isa);
  cpu->product_kernel = cpu_isa_product_kernels(isa);
  cpu->onednn = onednn_open(isa, cpu->device.threads);
  snprintf(cpu->device.description, sizeof cpu->device.description, "%s, %d %s, %s", isa_name(isa), cpu->device.threads,
           cpu->device.threads == 1 ? "thread" : "threads", onednn_version());
  *device = &cpu->device;
  return STATUS_OK;
}
