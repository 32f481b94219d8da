/* The CUDA device: its table, its memory and its scratch blocks. */
#include "cuda/cuda.h"
#include "cuda/choices.h"
#include <stdio.h>

static void *cuda_allocate(struct device *self, size_t bytes, const char *label) {
  graphs_expect_outside(cuda_from_device(self), "an allocation");
  return runtime_allocate(cuda_from_device(self), bytes, label);
}
static void cuda_release(struct device *self, void *block) {
  graphs_expect_outside(cuda_from_device(self), "a release");
  runtime_release(cuda_from_device(self), block);
}
static void cuda_copy_in(struct device *self, void *to_device, const void *from_host, size_t bytes) {
  graphs_expect_outside(cuda_from_device(self), "a copy from the host");
  runtime_copy_in(cuda_from_device(self), to_device, from_host, bytes);
}
static void cuda_copy_out(struct device *self, void *to_host, const void *from_device, size_t bytes) {
  graphs_expect_outside(cuda_from_device(self), "a copy to the host");
  self->counts.waits++;
  runtime_copy_out(cuda_from_device(self), to_host, from_device, bytes);
}
static void cuda_copy(struct device *self, void *to, const void *from, size_t bytes) {
  runtime_copy(cuda_from_device(self), to, from, bytes);
}
static void *cuda_allocate_pinned(struct device *self, size_t bytes, const char *label) {
  graphs_expect_outside(cuda_from_device(self), "an allocation");
  return runtime_allocate_pinned(cuda_from_device(self), bytes, label);
}
static void cuda_release_pinned(struct device *self, void *block) {
  graphs_expect_outside(cuda_from_device(self), "a release");
  runtime_release_pinned(cuda_from_device(self), block);
}
static void cuda_upload(struct device *self, int lane, void *to_device, const void *from_pinned, size_t bytes) {
  graphs_expect_outside(cuda_from_device(self), "an upload");
  runtime_upload(cuda_from_device(self), lane, to_device, from_pinned, bytes);
}
static void cuda_upload_finish(struct device *self, int lane) {
  graphs_expect_outside(cuda_from_device(self), "an upload");
  runtime_upload_finish(cuda_from_device(self), lane);
}
static void cuda_upload_again(struct device *self, int lane) {
  graphs_expect_outside(cuda_from_device(self), "an upload");
  runtime_upload_again(cuda_from_device(self), lane);
}
static void cuda_upload_wait(struct device *self, int lane) {
  graphs_expect_outside(cuda_from_device(self), "an upload");
  self->counts.waits += runtime_upload_wait(cuda_from_device(self), lane);
}
static void cuda_zero(struct device *self, void *block, size_t bytes) {
  runtime_fill_bytes(cuda_from_device(self), block, 0, bytes);
}
static void cuda_synchronize(struct device *self) {
  graphs_expect_outside(cuda_from_device(self), "a wait");
  self->counts.waits++;
  runtime_synchronize(cuda_from_device(self));
}
/* No copies of weights are kept here. */
static void cuda_forget_weights(struct device *self) {
  (void)self;
}

static void cuda_range_begin(struct device *self, const char *name) {
  runtime_range_begin(cuda_from_device(self), name);
}
static void cuda_range_end(struct device *self) {
  runtime_range_end(cuda_from_device(self));
}

static void cuda_identify(struct device *self, uint8_t id[DEVICE_ID_BYTES]) {
  runtime_identify(cuda_from_device(self), id);
}
static void cuda_memory_free(struct device *self, size_t *free_bytes, size_t *total_bytes) {
  runtime_memory_free(cuda_from_device(self), free_bytes, total_bytes);
}
static void cuda_enter_thread(struct device *self) {
  runtime_enter_thread(cuda_from_device(self));
}

static void cuda_close(struct device *self) {
  struct cuda_device *cuda = cuda_from_device(self);
  runtime_synchronize(cuda);
  runtime_leave_collective(cuda);
  runtime_close_downloads(cuda);
  choices_close(cuda);
  runtime_close_uploads(cuda);
  graphs_close(cuda);
  gemm_close(cuda);
  for (int i = 0; i < CUDA_SCRATCH_COUNT; i++)
    runtime_release(cuda, cuda->scratch[i].block);
  runtime_close(cuda);
  memory_release(cuda);
}

/* A new block begins as NaN: what reads it too early shows, and compute-sanitizer, which does not see what libraries
 * write, takes it for initialised. */
void *cuda_scratch(struct cuda_device *cuda, enum cuda_scratch_slot slot, size_t bytes) {
  if (bytes > cuda->scratch[slot].bytes) {
    graphs_retire(cuda, cuda->scratch[slot].block);
    cuda->scratch[slot].block = runtime_allocate(cuda, bytes, "CUDA scratch");
    runtime_fill_bytes(cuda, cuda->scratch[slot].block, 0xff, bytes);
    cuda->scratch[slot].bytes = bytes;
  }
  return cuda->scratch[slot].block;
}

/* In the order of the struct: designated initialisers out of order are no C++. */
static const struct device_operations cuda_operations = {
    .name = runtime_name,
    .allocate = cuda_allocate,
    .release = cuda_release,
    .copy_in = cuda_copy_in,
    .copy_out = cuda_copy_out,
    .copy = cuda_copy,
    .allocate_pinned = cuda_allocate_pinned,
    .release_pinned = cuda_release_pinned,
    .upload = cuda_upload,
    .upload_finish = cuda_upload_finish,
    .upload_again = cuda_upload_again,
    .upload_wait = cuda_upload_wait,
    .zero = cuda_zero,
    .fill = cuda_fill,
    .cast = cuda_cast,
    .add = cuda_add,
    .clamp = cuda_clamp,
    .synchronize = cuda_synchronize,
    .record = cuda_record,
    .submit = cuda_submit,
    .forget_weights = cuda_forget_weights,
    .range_begin = cuda_range_begin,
    .range_end = cuda_range_end,
    .linear = cuda_linear,
    .linear_data_gradient = cuda_linear_data_gradient,
    .linear_weight_gradient = cuda_linear_weight_gradient,
    .activation = cuda_activation,
    .activation_backward = cuda_activation_backward,
    .norm = cuda_norm,
    .norm_backward = cuda_norm_backward,
    .attention = cuda_attention,
    .attention_backward = cuda_attention_backward,
    .patchify = cuda_patchify,
    .image_embed = cuda_image_embed,
    .image_embed_backward = cuda_image_embed_backward,
    .text_embed = cuda_text_embed,
    .text_embed_backward = cuda_text_embed_backward,
    .memory_select = cuda_memory_select,
    .memory_select_backward = cuda_memory_select_backward,
    .memory_read = cuda_memory_read,
    .memory_read_backward = cuda_memory_read_backward,
    .expert_read = cuda_expert_read,
    .expert_read_backward = cuda_expert_read_backward,
    .dropout = cuda_dropout,
    .gate = cuda_gate,
    .gate_backward = cuda_gate_backward,
    .token_gate = cuda_token_gate,
    .token_gate_backward = cuda_token_gate_backward,
    .pool = cuda_pool,
    .pool_backward = cuda_pool_backward,
    .pool_average = cuda_pool_average,
    .pool_average_backward = cuda_pool_average_backward,
    .normalize = cuda_normalize,
    .normalize_backward = cuda_normalize_backward,
    .distill = cuda_distill,
    .contrastive_normalisers = cuda_contrastive_normalisers,
    .contrastive = cuda_contrastive,
    .adamw_squares = cuda_adamw_squares,
    .adamw = cuda_adamw,
    .identify = cuda_identify,
    .memory_free = cuda_memory_free,
    .enter_thread = cuda_enter_thread,
    .close = cuda_close,
};

extern "C" __attribute__((visibility("default"))) enum status
memclip_device_module_open(size_t operations_bytes, int local_rank, struct device **device) {
  if (operations_bytes != sizeof(struct device_operations))
    return error_set(STATUS_SYSTEM, "the CUDA module was built for another version of memclip; install both again");
  struct cuda_device *cuda = (struct cuda_device *)memory_allocate(sizeof *cuda, "CUDA device");
  cuda->device.op = &cuda_operations;
  cuda->device.choices = cuda_choices;
  cuda->device.threads = 1;
  enum status status = runtime_open(local_rank, cuda);
  if (status == STATUS_OK)
    status = gemm_open(cuda);
  if (status != STATUS_OK) {
    memory_release(cuda);
    return status;
  }
  choices_open(cuda);
  runtime_open_uploads(cuda);
  runtime_open_collective(cuda);
  runtime_open_downloads(cuda);
  graphs_open(cuda);
  const size_t used = strlen(cuda->device.description);
  snprintf(cuda->device.description + used, sizeof cuda->device.description - used, ", %s", gemm_version());
  *device = &cuda->device;
  return STATUS_OK;
}
