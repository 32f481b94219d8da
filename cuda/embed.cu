/* Where the residual streams begin: image patches and token embeddings. Sums over samples go in order of the samples.
 */
#include "cuda/bag.h"
#include "cuda/kernel.h"

enum { THREADS = 256 };

/* ---- patchify */

/* Without an index that is known at run time only, which would move the array to local memory. */
DEVICE float of_channel(const float *x, int64_t channel) {
  return channel == 0 ? x[0] : channel == 1 ? x[1] : x[2];
}

/* A thread per element of a patch row. (v/255 - mean) / std, every step rounded to fp32. */
template <typename T> KERNEL void patch_elements(struct patchify call, int64_t grid_y, int64_t grid_x) {
  const int64_t p = call.patch, length = 3 * p * p, pixels = call.height * call.width;
  for (int64_t i = thread_of_grid(); i < call.batch * grid_y * grid_x * length; i += threads_of_grid()) {
    const int64_t row = i / length, channel = i % length / (p * p), y = i / p % p, x = i % p;
    const int64_t b = row / (grid_y * grid_x), patch_y = row / grid_x % grid_y, patch_x = row % grid_x;
    const int64_t pixel = (patch_y * p + y) * call.width + patch_x * p + x;
    float value;
    if (call.image_dtype == DTYPE_U8) {
      const float unit = (float)((const uint8_t *)call.images)[(b * pixels + pixel) * 3 + channel] / 255.0f;
      value = (unit - of_channel(call.mean, channel)) / of_channel(call.std, channel);
    } else {
      value = ((const float *)call.images)[(b * 3 + channel) * pixels + pixel];
    }
    from_float((T *)call.patches + i, value);
  }
}

void cuda_patchify(struct device *self, const struct patchify *call) {
  const int64_t grid_y = call->height / call->patch, grid_x = call->width / call->patch;
  const int64_t count = call->batch * grid_y * grid_x * 3 * call->patch * call->patch;
  WITH_TYPE(T, call->dtype,
            LAUNCH((patch_elements<T>), blocks_striding(count, THREADS), THREADS, 0, cuda_from_device(self), *call,
                   grid_y, grid_x));
}

/* ---- image_embed */

template <typename T> KERNEL void image_tokens(struct image_embed call) {
  const int64_t tokens = 1 + call.kept, width = call.width;
  for (int64_t i = thread_of_grid(); i < call.batch * tokens * width; i += threads_of_grid()) {
    const int64_t b = i / width / tokens, t = i / width % tokens, c = i % width;
    if (t == 0) {
      call.x[i] = call.class_embedding[c] + call.position[c];
    } else {
      const int64_t patch = call.keep ? call.keep[b * call.kept + t - 1] : t - 1;
      call.x[i] = to_float(((const T *)call.patches)[(b * call.grid + patch) * width + c]) +
                  call.position[(1 + patch) * width + c];
    }
  }
}

void cuda_image_embed(struct device *self, const struct image_embed *call) {
  const int64_t count = call->batch * (1 + call->kept) * call->width;
  WITH_TYPE(T, call->dtype,
            LAUNCH((image_tokens<T>), blocks_striding(count, THREADS), THREADS, 0, cuda_from_device(self), *call));
}

/* token[b, patch] = the token that the patch became; it holds -1 before. */
KERNEL void find_tokens(struct image_embed call, int32_t *token) {
  for (int64_t i = thread_of_grid(); i < call.batch * call.kept; i += threads_of_grid())
    token[i / call.kept * call.grid + call.keep[i]] = (int32_t)(1 + i % call.kept);
}

DEVICE int64_t token_of(const int32_t *token, const struct image_embed *call, int64_t b, int64_t patch) {
  return token ? token[b * call->grid + patch] : 1 + patch;
}

template <typename T> KERNEL void patch_gradients(struct image_embed call, const int32_t *token) {
  const int64_t width = call.width;
  for (int64_t i = thread_of_grid(); i < call.batch * call.grid * width; i += threads_of_grid()) {
    const int64_t b = i / width / call.grid, t = token_of(token, &call, b, i / width % call.grid);
    from_float((T *)call.dpatches + i, t < 0 ? 0 : call.dx[(b * (1 + call.kept) + t) * width + i % width]);
  }
}

/* A thread per element of the position table; row 0 is the class token's. */
KERNEL void position_gradients(struct image_embed call, const int32_t *token) {
  const int64_t width = call.width;
  for (int64_t i = thread_of_grid(); i < (1 + call.grid) * width; i += threads_of_grid()) {
    const int64_t position = i / width, c = i % width;
    float sum = 0;
    for (int64_t b = 0; b < call.batch; b++) {
      const int64_t t = position ? token_of(token, &call, b, position - 1) : 0;
      sum += t < 0 ? 0 : call.dx[(b * (1 + call.kept) + t) * width + c];
    }
    if (call.dposition)
      call.dposition[i] += sum;
    if (call.dclass && position == 0)
      call.dclass[c] += sum;
  }
}

void cuda_image_embed_backward(struct device *self, const struct image_embed *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  int32_t *token = NULL;
  if (call->keep) {
    const size_t bytes = (size_t)(call->batch * call->grid) * sizeof *token;
    token = (int32_t *)cuda_scratch(cuda, CUDA_SCRATCH_INDEX, bytes);
    runtime_fill_bytes(cuda, token, 0xff, bytes);
    LAUNCH(find_tokens, blocks_striding(call->batch * call->kept, THREADS), THREADS, 0, cuda, *call, token);
  }
  const int64_t patches = call->batch * call->grid * call->width, positions = (1 + call->grid) * call->width;
  if (call->dpatches)
    WITH_TYPE(T, call->dtype,
              LAUNCH((patch_gradients<T>), blocks_striding(patches, THREADS), THREADS, 0, cuda, *call, token));
  if (call->dposition || call->dclass)
    LAUNCH(position_gradients, blocks_striding(positions, THREADS), THREADS, 0, cuda, *call, token);
}

/* ---- text_embed */

KERNEL void text_tokens(struct text_embed call) {
  const int64_t width = call.width;
  for (int64_t i = thread_of_grid(); i < call.batch * call.tokens * width; i += threads_of_grid()) {
    const int64_t b = i / width / call.tokens, t = i / width % call.tokens, c = i % width;
    const int64_t id = call.ids[b * call.ids_stride + t];
    call.x[i] = call.table[id * width + c] + call.position[t * width + c];
  }
}

void cuda_text_embed(struct device *self, const struct text_embed *call) {
  LAUNCH(text_tokens, blocks_striding(call->batch * call->tokens * call->width, THREADS), THREADS, 0,
         cuda_from_device(self), *call);
}

/* ids of the tokens in use, dense */
KERNEL void gather_ids(struct text_embed call, int32_t *ids) {
  for (int64_t i = thread_of_grid(); i < call.batch * call.tokens; i += threads_of_grid())
    ids[i] = call.ids[i / call.tokens * call.ids_stride + i % call.tokens];
}

KERNEL void text_position_gradients(struct text_embed call) {
  const int64_t row = call.tokens * call.width;
  for (int64_t i = thread_of_grid(); i < row; i += threads_of_grid()) {
    float sum = 0;
    for (int64_t b = 0; b < call.batch; b++)
      sum += call.dx[b * row + i];
    call.dposition[i] += sum;
  }
}

void cuda_text_embed_backward(struct device *self, const struct text_embed *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  const int64_t rows = call->batch * call->tokens;
  if (call->dposition)
    LAUNCH(text_position_gradients, blocks_striding(call->tokens * call->width, THREADS), THREADS, 0, cuda, *call);
  if (!call->dtable)
    return;
  int32_t *ids = (int32_t *)cuda_scratch(cuda, CUDA_SCRATCH_INDEX, (size_t)rows * sizeof *ids);
  LAUNCH(gather_ids, blocks_striding(rows, THREADS), THREADS, 0, cuda, *call, ids);
  struct bag bag = {};
  bag.count = rows;
  bag.entries = 1;
  bag.slots = call->vocabulary;
  bag.width = call->width;
  bag.dtype = DTYPE_F32;
  bag.index = ids;
  bag.rows = call->dx;
  bag.dtable = call->dtable;
  cuda_bag_scatter(cuda, &bag);
}
