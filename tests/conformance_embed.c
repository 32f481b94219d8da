/* Patches, image and text embeddings. */
#include "conformance.h"
#include <math.h>

static void test_patchify(struct conformance *c, enum dtype dtype) {
  int64_t batch = conformance_size(c, 3), patch = conformance_size(c, 5), height = patch + conformance_size(c, 12),
          width = patch + conformance_size(c, 12);
  bool bytes = conformance_flag(c);
  conformance_note(c, "batch %d patch %d image %dx%d bytes %d", (int)batch, (int)patch, (int)height, (int)width, bytes);
  int64_t grid_y = height / patch, grid_x = width / patch, length = 3 * patch * patch,
          count = batch * grid_y * grid_x * length;
  struct patchify call = {.batch = batch,
                          .height = height,
                          .width = width,
                          .patch = patch,
                          .image_dtype = bytes ? DTYPE_U8 : DTYPE_F32,
                          .dtype = dtype,
                          .mean = {0.4815f, 0.4578f, 0.4082f},
                          .std = {0.2686f, 0.2613f, 0.2758f}};
  double *images = conformance_doubles(c, batch * 3 * height * width), *expected = conformance_doubles(c, count);
  for (int64_t i = 0; i < batch * 3 * height * width; i++)
    images[i] = bytes ? floor(256 * conformance_uniform(c)) : conformance_normal(c);
  struct tensor *image = tensor_from(c, call.image_dtype, batch * 3 * height * width, images),
                *patches = tensor_result(c, dtype, count);
  for (int64_t i = 0; i < count; i++) {
    int64_t row = i / length, channel = i % length / (patch * patch), y = i % (patch * patch) / patch, x = i % patch;
    int64_t b = row / (grid_y * grid_x), py = row / grid_x % grid_y * patch + y, px = row % grid_x * patch + x;
    expected[i] = bytes ? (image->value[((b * height + py) * width + px) * 3 + channel] / 255 - call.mean[channel]) /
                              call.std[channel]
                        : image->value[((b * 3 + channel) * height + py) * width + px];
  }
  call.images = image->data;
  call.patches = patches->data;
  c->device->op->patchify(c->device, &call);
  conformance_check_all(c, "patches", patches, expected, bytes ? conformance_sum_bound(1, 4) : 0);
}

/* Ascending choice of `kept` of `grid` patches for each sample. */
static struct tensor *choose_patches(struct conformance *c, int64_t batch, int64_t grid, int64_t kept) {
  double *keep = conformance_doubles(c, batch * kept);
  for (int64_t b = 0; b < batch; b++) {
    int64_t chosen = 0;
    for (int64_t i = 0; i < grid; i++)
      if (conformance_uniform(c) * (double)(grid - i) < (double)(kept - chosen))
        keep[b * kept + chosen++] = (double)i;
  }
  return tensor_from(c, DTYPE_I32, batch * kept, keep);
}

static void test_image_embed(struct conformance *c, enum dtype dtype) {
  int64_t batch = conformance_size(c, 5), grid = conformance_size(c, 20), width = conformance_size(c, 150);
  int64_t kept = conformance_flag(c) ? conformance_size(c, grid) : 0;
  struct tensor *keep = kept ? choose_patches(c, batch, grid, kept) : NULL;
  kept = kept ? kept : grid;
  bool wanted = conformance_flag(c);
  conformance_note(c, "batch %d grid %d kept %d width %d keep %d", (int)batch, (int)grid, (int)kept, (int)width,
                   keep != NULL);
  int64_t tokens = 1 + kept;
  struct tensor *patches = tensor_random(c, dtype, batch * grid * width, 1),
                *class_embedding = tensor_random(c, DTYPE_F32, width, 1);
  struct tensor *position = tensor_random(c, DTYPE_F32, (1 + grid) * width, 1),
                *x = tensor_result(c, DTYPE_F32, batch * tokens * width);
  struct tensor *dx = tensor_random(c, DTYPE_F32, batch * tokens * width, 1),
                *dpatches = tensor_result(c, dtype, batch * grid * width);
  struct tensor *dclass = wanted ? tensor_random(c, DTYPE_F32, width, 1) : NULL;
  struct tensor *dposition = wanted ? tensor_random(c, DTYPE_F32, (1 + grid) * width, 1) : NULL;
  double *expected = conformance_doubles(c, batch * tokens * width),
         *dpatches_expected = conformance_doubles(c, batch * grid * width);
  double *dclass_expected = conformance_doubles(c, width),
         *dposition_expected = conformance_doubles(c, (1 + grid) * width);
  for (int64_t i = 0; wanted && i < (1 + grid) * width; i++)
    dposition_expected[i] = dposition->value[i];
  for (int64_t i = 0; wanted && i < width; i++)
    dclass_expected[i] = dclass->value[i];
  for (int64_t i = 0; i < batch * tokens * width; i++) {
    int64_t b = i / (tokens * width), t = i / width % tokens, k = i % width;
    int64_t patch = t == 0 ? -1 : keep ? (int64_t)keep->value[b * kept + t - 1] : t - 1;
    expected[i] = (t == 0 ? class_embedding->value[k] : patches->value[(b * grid + patch) * width + k]) +
                  position->value[(1 + patch) * width + k];
    dposition_expected[(1 + patch) * width + k] += dx->value[i];
    if (t == 0)
      dclass_expected[k] += dx->value[i];
    else
      dpatches_expected[(b * grid + patch) * width + k] = dx->value[i];
  }
  struct image_embed call = {.batch = batch,
                             .grid = grid,
                             .kept = kept,
                             .width = width,
                             .dtype = dtype,
                             .keep = tensor_data(keep),
                             .patches = patches->data,
                             .class_embedding = class_embedding->data,
                             .position = position->data,
                             .x = x->data,
                             .dx = dx->data,
                             .dpatches = dpatches->data,
                             .dclass = tensor_data(dclass),
                             .dposition = tensor_data(dposition)};
  c->device->op->image_embed(c->device, &call);
  conformance_check_all(c, "x", x, expected, 0);
  c->device->op->image_embed_backward(c->device, &call);
  conformance_check_all(c, "dpatches", dpatches, dpatches_expected, 0);
  if (wanted) {
    conformance_check_all(c, "dclass", dclass, dclass_expected, conformance_sum_bound(batch, 4 * (double)batch));
    conformance_check_all(c, "dposition", dposition, dposition_expected,
                          conformance_sum_bound(batch, 4 * (double)batch));
  }
}

static void test_text_embed(struct conformance *c, enum dtype dtype) {
  (void)dtype;
  int64_t batch = conformance_size(c, 6), tokens = conformance_size(c, 12), width = conformance_size(c, 150),
          vocabulary = conformance_size(c, 20);
  int64_t stride = tokens + conformance_size(c, 4) - 1, rows = batch * tokens;
  conformance_note(c, "batch %d tokens %d width %d vocabulary %d stride %d", (int)batch, (int)tokens, (int)width,
                   (int)vocabulary, (int)stride);
  struct tensor *ids = tensor_indices(c, batch * stride, vocabulary),
                *table = tensor_random(c, DTYPE_F32, vocabulary * width, 1);
  struct tensor *position = tensor_random(c, DTYPE_F32, stride * width, 1),
                *x = tensor_result(c, DTYPE_F32, rows * width);
  struct tensor *dx = tensor_random(c, DTYPE_F32, rows * width, 1),
                *dtable = tensor_random(c, DTYPE_F32, vocabulary * width, 1);
  struct tensor *dposition = tensor_random(c, DTYPE_F32, stride * width, 1), *again = tensor_copy(c, dtable);
  double *expected = conformance_doubles(c, rows * width),
         *dtable_expected = conformance_doubles(c, vocabulary * width),
         *dposition_expected = conformance_doubles(c, stride * width);
  for (int64_t i = 0; i < vocabulary * width; i++)
    dtable_expected[i] = dtable->value[i];
  for (int64_t i = 0; i < stride * width; i++)
    dposition_expected[i] = dposition->value[i];
  for (int64_t i = 0; i < rows * width; i++) {
    int64_t b = i / (tokens * width), t = i / width % tokens, k = i % width, id = (int64_t)ids->value[b * stride + t];
    expected[i] = table->value[id * width + k] + position->value[t * width + k];
    dtable_expected[id * width + k] += dx->value[i];
    dposition_expected[t * width + k] += dx->value[i];
  }
  struct text_embed call = {.batch = batch,
                            .tokens = tokens,
                            .width = width,
                            .ids_stride = stride,
                            .vocabulary = vocabulary,
                            .ids = ids->data,
                            .table = table->data,
                            .position = position->data,
                            .x = x->data,
                            .dx = dx->data,
                            .dtable = dtable->data,
                            .dposition = dposition->data};
  c->device->op->text_embed(c->device, &call);
  conformance_check_all(c, "x", x, expected, 0);
  c->device->op->text_embed_backward(c->device, &call);
  conformance_check_all(c, "dtable", dtable, dtable_expected, conformance_sum_bound(rows, 4 * (double)rows));
  conformance_check_all(c, "dposition", dposition, dposition_expected, conformance_sum_bound(batch, 4 * (double)batch));
  call.dtable = again->data;
  call.dposition = NULL;
  c->device->op->text_embed_backward(c->device, &call);
  bool equal = true;
  tensor_read(c, again);
  for (int64_t i = 0; i < vocabulary * width; i++)
    equal = equal && again->value[i] == dtable->value[i];
  conformance_require(c, equal, "the table's gradient is the same again, to the bit");
}

const struct conformance_case conformance_embed[] = {
    {"patchify", test_patchify}, {"image_embed", test_image_embed}, {"text_embed", test_text_embed}, {0}};
