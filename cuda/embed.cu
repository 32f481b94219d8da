/* Where the residual streams begin: image patches and token embeddings. Sums over samples go in order of the samples.
 */
#include "cuda/bag.h"
#include "cuda/kernel.h"

enum { THREADS = 256, VECTOR = 4, PATCHES = 8 };

/* ---- patchify */

/* value[channel][v] = (v/255 - mean) / std, every step rounded to fp32: divisions once per value, not per pixel. */
DEVICE void make_values(const struct patchify *call, float *value) {
#pragma unroll
  for (int channel = 0; channel < 3; channel++)
    for (int v = (int)threadIdx.x; v < 256; v += THREADS)
      value[channel * 256 + v] = ((float)v / 255.0f - call->mean[channel]) / call->std[channel];
}

/* A block per PATCHES patches, a thread per pixel. */
template <typename T> KERNEL void patch_pixels(struct patchify call, unsigned grid_y, unsigned grid_x) {
  SHARED(float, value, 3 * 256);
  const unsigned p = (unsigned)call.patch, patches = (unsigned)call.batch * grid_y * grid_x;
  const int64_t pixels = call.height * call.width;
  make_values(&call, value);
  block_barrier();
  for (unsigned row = blockIdx.x * PATCHES; row < (blockIdx.x + 1) * PATCHES && row < patches; row++) {
    const int64_t b = row / (grid_y * grid_x);
    const int64_t corner = (int64_t)(row / grid_x % grid_y * p) * call.width + row % grid_x * p;
    T *patch = (T *)call.patches + (int64_t)row * 3 * p * p;
    for (unsigned i = threadIdx.x; i < p * p; i += THREADS) {
      const int64_t pixel = corner + i / p * call.width + i % p;
#pragma unroll
      for (int channel = 0; channel < 3; channel++)
        from_float(patch + channel * p * p + i,
                   call.image_dtype == DTYPE_U8
                       ? value[channel * 256 + ((const uint8_t *)call.images)[(b * pixels + pixel) * 3 + channel]]
                       : ((const float *)call.images)[(b * 3 + channel) * pixels + pixel]);
    }
  }
}

void cuda_patchify(struct device *self, const struct patchify *call) {
  const unsigned grid_y = (unsigned)(call->height / call->patch), grid_x = (unsigned)(call->width / call->patch);
  WITH_TYPE(T, call->dtype,
            LAUNCH((patch_pixels<T>), blocks_for(call->batch * grid_y * grid_x, PATCHES), THREADS, 0,
                   cuda_from_device(self), *call, grid_y, grid_x));
}

/* ---- image_embed */

/* A warp per token. */
template <typename T, int V> KERNEL void image_tokens(struct image_embed call) {
  const int64_t tokens = 1 + call.kept, width = call.width, row = warp_of_grid();
  if (row >= call.batch * tokens)
    return;
  const int64_t b = row / tokens, t = row % tokens;
  const int64_t patch = t == 0 ? -1 : call.keep ? call.keep[b * call.kept + t - 1] : t - 1;
  float x[V], position[V];
  for (int64_t c = lane_of_thread() * V; c < width; c += WARP * V) {
    load<V>(call.position, (1 + patch) * width + c, position);
    if (t == 0)
      load<V>(call.class_embedding, c, x);
    else
      load<V>((const T *)call.patches, (b * call.grid + patch) * width + c, x);
#pragma unroll
    for (int n = 0; n < V; n++)
      x[n] += position[n];
    store<V>(call.x, row * width + c, x);
  }
}

void cuda_image_embed(struct device *self, const struct image_embed *call) {
  const unsigned blocks = blocks_for(call->batch * (1 + call->kept), THREADS / WARP);
  const bool fits =
      call->width % VECTOR == 0 && aligned((const char *)call->patches, call->class_embedding, call->position, call->x);
  WITH_TYPE(T, call->dtype,
            WITH_VECTOR(VECTOR, fits, LAUNCH((image_tokens<T, V>), blocks, THREADS, 0, cuda_from_device(self), *call)));
}

/* token[b, patch] = the token that the patch became; it holds -1 before. */
KERNEL void find_tokens(struct image_embed call, int32_t *token) {
  for (int64_t i = thread_of_grid(); i < call.batch * call.kept; i += threads_of_grid())
    token[i / call.kept * call.grid + call.keep[i]] = (int32_t)(1 + i % call.kept);
}

DEVICE int64_t token_of(const int32_t *token, const struct image_embed *call, int64_t b, int64_t patch) {
  return token ? token[b * call->grid + patch] : 1 + patch;
}

/* A warp per patch. */
template <typename T, int V> KERNEL void patch_gradients(struct image_embed call, const int32_t *token) {
  const int64_t width = call.width, row = warp_of_grid(), b = row / call.grid;
  if (row >= call.batch * call.grid)
    return;
  const int64_t t = token_of(token, &call, b, row % call.grid);
  float gradient[V] = {0};
  for (int64_t c = lane_of_thread() * V; c < width; c += WARP * V) {
    if (t >= 0)
      load<V>(call.dx, (b * (1 + call.kept) + t) * width + c, gradient);
    store<V>((T *)call.dpatches, row * width + c, gradient);
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
  const unsigned patch_blocks = blocks_for(call->batch * call->grid, THREADS / WARP);
  const int64_t positions = (1 + call->grid) * call->width;
  if (call->dpatches)
    WITH_TYPE(T, call->dtype,
              WITH_VECTOR(VECTOR, call->width % VECTOR == 0 && aligned(call->dx, (const char *)call->dpatches),
                          LAUNCH((patch_gradients<T, V>), patch_blocks, THREADS, 0, cuda, *call, token)));
  if (call->dposition || call->dclass)
    LAUNCH(position_gradients, blocks_striding(positions, THREADS), THREADS, 0, cuda, *call, token);
}

/* ---- text_embed */

/* A warp per token. */
template <int V> KERNEL void text_tokens(struct text_embed call) {
  const int64_t width = call.width, row = warp_of_grid(), t = row % call.tokens;
  if (row >= call.batch * call.tokens)
    return;
  const int64_t id = call.ids[row / call.tokens * call.ids_stride + t];
  float x[V], position[V];
  for (int64_t c = lane_of_thread() * V; c < width; c += WARP * V) {
    load<V>(call.table, id * width + c, x);
    load<V>(call.position, t * width + c, position);
#pragma unroll
    for (int n = 0; n < V; n++)
      x[n] += position[n];
    store<V>(call.x, row * width + c, x);
  }
}

void cuda_text_embed(struct device *self, const struct text_embed *call) {
  const unsigned blocks = blocks_for(call->batch * call->tokens, THREADS / WARP);
  WITH_VECTOR(VECTOR, call->width % VECTOR == 0 && aligned(call->table, call->position, call->x),
              LAUNCH((text_tokens<V>), blocks, THREADS, 0, cuda_from_device(self), *call));
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
