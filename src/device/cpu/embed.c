/* Where the residual streams begin: image patches and token embeddings. Gradients of tables are summed column block by
 * column block, each in order of the rows, so they do not depend on the threads. */
#include "device/cpu/cpu.h"
#include <string.h>

enum { COLUMN_BLOCK = 64 };

static int64_t block_end(int64_t first, int64_t width) {
  return first + COLUMN_BLOCK < width ? first + COLUMN_BLOCK : width;
}

/* ---- patchify */

/* (v/255 - mean) / std for each byte, every step rounded to fp32. */
static void normalisation_table(const struct patchify *call, float table[3][256]) {
  for (int channel = 0; channel < 3; channel++)
    for (int v = 0; v < 256; v++) {
      float unit = (float)v / 255.0f, centred = unit - call->mean[channel];
      table[channel][v] = centred / call->std[channel];
    }
}

static void patchify_row(const struct patchify *call, float table[3][256], int64_t b, int64_t patch_y, int64_t patch_x,
                         int64_t row) {
  int64_t p = call->patch, width = call->width, pixels = call->height * width;
  for (int64_t channel = 0; channel < 3; channel++)
    for (int64_t y = 0; y < p; y++) {
      int64_t pixel = (patch_y * p + y) * width + patch_x * p, out = ((row * 3 + channel) * p + y) * p;
      const uint8_t *bytes = (const uint8_t *)call->images + (b * pixels + pixel) * 3 + channel;
      const float *plane = (const float *)call->images + (b * 3 + channel) * pixels + pixel;
      for (int64_t x = 0; x < p; x++)
        cpu_store(call->dtype, call->patches, out + x,
                  call->image_dtype == DTYPE_U8 ? table[channel][bytes[3 * x]] : plane[x]);
    }
}

void cpu_patchify(struct device *self, const struct patchify *call) {
  float table[3][256];
  if (call->image_dtype == DTYPE_U8)
    normalisation_table(call, table);
  int64_t grid_y = call->height / call->patch, grid_x = call->width / call->patch;
#pragma omp parallel for num_threads(self->threads)
  for (int64_t row = 0; row < call->batch * grid_y * grid_x; row++)
    patchify_row(call, table, row / (grid_y * grid_x), row / grid_x % grid_y, row % grid_x, row);
}

/* ---- image_embed */

/* The patch that token 1+j of sample b is made from. */
static int64_t kept_patch(const struct image_embed *call, int64_t b, int64_t j) {
  return call->keep ? call->keep[b * call->kept + j] : j;
}

void cpu_image_embed(struct device *self, const struct image_embed *call) {
  const struct cpu_kernels *kernel = cpu_from_device(self)->kernel;
  int64_t tokens = 1 + call->kept, width = call->width;
#pragma omp parallel for num_threads(self->threads)
  for (int64_t row = 0; row < call->batch * tokens; row++) {
    int64_t b = row / tokens, t = row % tokens;
    float *x = call->x + row * width;
    if (t == 0) {
      kernel->cpu_kernel_sum_rows(x, DTYPE_F32, call->class_embedding, call->position, width);
    } else {
      int64_t patch = kept_patch(call, b, t - 1);
      const void *from = cpu_at(call->dtype, call->patches, (b * call->grid + patch) * width);
      kernel->cpu_kernel_sum_rows(x, call->dtype, from, call->position + (1 + patch) * width, width);
    }
  }
}

static void image_embed_patches_backward(const struct cpu_device *cpu, const struct image_embed *call, int64_t b) {
  int64_t width = call->width;
  char *dpatches = cpu_at_writable(call->dtype, call->dpatches, b * call->grid * width);
  if (call->keep)
    memset(dpatches, 0, (size_t)(call->grid * width) * dtype_size(call->dtype));
  for (int64_t j = 0; j < call->kept; j++) {
    void *to = cpu_at_writable(call->dtype, dpatches, kept_patch(call, b, j) * width);
    const float *from = call->dx + (b * (1 + call->kept) + 1 + j) * width;
    if (call->dtype == DTYPE_BF16)
      cpu->kernel->cpu_kernel_narrow(to, from, width);
    else
      memcpy(to, from, (size_t)width * sizeof *from);
  }
}

static void image_embed_tables_backward(const struct image_embed *call, int64_t first, int64_t last) {
  int64_t width = call->width;
  for (int64_t b = 0; b < call->batch; b++)
    for (int64_t t = 0; t <= call->kept; t++) {
      const float *dx = call->dx + (b * (1 + call->kept) + t) * width;
      int64_t position = t ? 1 + kept_patch(call, b, t - 1) : 0;
      for (int64_t c = first; call->dposition && c < last; c++)
        call->dposition[position * width + c] += dx[c];
      for (int64_t c = first; call->dclass && t == 0 && c < last; c++)
        call->dclass[c] += dx[c];
    }
}

void cpu_image_embed_backward(struct device *self, const struct image_embed *call) {
  if (call->dpatches) {
#pragma omp parallel for num_threads(self->threads)
    for (int64_t b = 0; b < call->batch; b++)
      image_embed_patches_backward(cpu_from_device(self), call, b);
  }
  if (call->dposition || call->dclass) {
#pragma omp parallel for num_threads(self->threads)
    for (int64_t first = 0; first < call->width; first += COLUMN_BLOCK)
      image_embed_tables_backward(call, first, block_end(first, call->width));
  }
}

/* ---- text_embed */

static int64_t token_id(const struct text_embed *call, int64_t b, int64_t t) {
  return call->ids[b * call->ids_stride + t];
}

void cpu_text_embed(struct device *self, const struct text_embed *call) {
  const struct cpu_kernels *kernel = cpu_from_device(self)->kernel;
  int64_t width = call->width;
#pragma omp parallel for num_threads(self->threads)
  for (int64_t row = 0; row < call->batch * call->tokens; row++) {
    int64_t t = row % call->tokens, id = token_id(call, row / call->tokens, t);
    kernel->cpu_kernel_sum_rows(call->x + row * width, DTYPE_F32, call->table + id * width, call->position + t * width,
                                width);
  }
}

static void text_embed_backward_block(const struct text_embed *call, int64_t first, int64_t last) {
  int64_t width = call->width;
  for (int64_t b = 0; b < call->batch; b++)
    for (int64_t t = 0; t < call->tokens; t++) {
      const float *dx = call->dx + (b * call->tokens + t) * width;
      int64_t id = token_id(call, b, t);
      for (int64_t c = first; call->dtable && c < last; c++)
        call->dtable[id * width + c] += dx[c];
      for (int64_t c = first; call->dposition && c < last; c++)
        call->dposition[t * width + c] += dx[c];
    }
}

void cpu_text_embed_backward(struct device *self, const struct text_embed *call) {
#pragma omp parallel for num_threads(self->threads)
  for (int64_t first = 0; first < call->width; first += COLUMN_BLOCK)
    text_embed_backward_block(call, first, block_end(first, call->width));
}
