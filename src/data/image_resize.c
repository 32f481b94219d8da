/* Pillow's bicubic resize in integers: two passes with an 8-bit intermediate; a pass that changes no size is a copy.
 * The horizontal pass comes first unless the height shrinks by more than twice as many pixels as the width (Pillow 13;
 * before, it always did). Only the rows and columns that the wanted window needs are computed. */
#include "base/memory.h"
#include "data/image_kernels.h"
#include "data/image_private.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* One axis: `in` samples become `out`, of which [first, first + count) are wanted. */
struct axis {
  int in, out, first, count;
  bool linear; /* triangle instead of cubic */
};
struct span { /* inputs that the wanted outputs touch */
  int first, count;
};

void image_workspace_release(struct image_workspace *workspace) {
  memory_release(workspace->rows);
  memory_release(workspace->taps);
  *workspace = (struct image_workspace){0};
}

static void reserve(uint8_t **block, size_t *bytes, size_t wanted) {
  if (wanted <= *bytes)
    return;
  memory_release(*block);
  *block = memory_allocate(wanted, "resize");
  *bytes = wanted;
}

/* Keys' cubic with a = -1/2. */
static double cubic(double x) {
  const double a = -0.5;
  x = fabs(x);
  if (x < 1.0)
    return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0)
    return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

static double triangle(double x) {
  x = fabs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

static double support_of(const struct axis *axis) {
  return axis->linear ? 1.0 : 2.0;
}

static int groups_of(const struct axis *axis) {
  const double scale = (double)axis->in / axis->out;
  const int taps = (int)ceil(support_of(axis) * fmax(scale, 1.0)) * 2 + 1;
  return (taps + IMAGE_TAP_GROUP - 1) / IMAGE_TAP_GROUP;
}

static size_t taps_bytes(const struct axis *axis) {
  return (size_t)axis->count * (sizeof(int32_t) + (size_t)groups_of(axis) * 2 * IMAGE_TAP_GROUP * sizeof(int16_t)) + 64;
}

/* The weights of one output: K((i - centre + 1/2) / f) over the inputs within 2 f (linear: f) of the centre, divided by
 * their sum, as integers rounded half away from zero. `weight` has room for all taps. Returns the first input; the
 * number of inputs in *count. */
static int weigh(const struct axis *axis, int output, double *weight, int *count) {
  const double scale = (double)axis->in / axis->out, width = fmax(scale, 1.0), support = support_of(axis) * width,
               inverse = 1.0 / width;
  const double centre = (output + 0.5) * scale;
  int first = (int)(centre - support + 0.5), end = (int)(centre + support + 0.5);
  first = first < 0 ? 0 : first;
  end = end > axis->in ? axis->in : end;
  double sum = 0;
  for (int i = 0; i < end - first; i++) {
    const double x = (i + first - centre + 0.5) * inverse;
    weight[i] = axis->linear ? triangle(x) : cubic(x);
    sum += weight[i];
  }
  for (int i = 0; i < end - first; i++)
    weight[i] = sum != 0 ? weight[i] / sum : weight[i];
  *count = end - first;
  return first;
}

static void store_weight(double weight, int tap, int16_t *weights) {
  const double scaled = weight * (1 << IMAGE_WEIGHT_BITS);
  const int value = (int)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
  int16_t *group = weights + tap / IMAGE_TAP_GROUP * 2 * IMAGE_TAP_GROUP + tap % IMAGE_TAP_GROUP;
  group[0] = (int16_t)(value >> IMAGE_LOW_BITS);
  group[IMAGE_TAP_GROUP] = (int16_t)(value & ((1 << IMAGE_LOW_BITS) - 1));
}

/* Fills `taps` in `block` and returns the inputs that are touched; taps->first counts from there. `scratch`: a double
 * per tap. */
static struct span make_taps(const struct axis *axis, uint8_t *block, double *scratch, struct image_taps *taps) {
  const int groups = groups_of(axis);
  *taps = (struct image_taps){.count = axis->count, .groups = groups, .weights = (int16_t *)block};
  const size_t weights = (size_t)groups * 2 * IMAGE_TAP_GROUP;
  taps->first = (int32_t *)(block + (size_t)axis->count * weights * sizeof(int16_t));
  memset(block, 0, (size_t)axis->count * weights * sizeof(int16_t));
  struct span span = {axis->in, 0};
  int end = 0;
  for (int x = 0; x < axis->count; x++) {
    int count;
    taps->first[x] = weigh(axis, axis->first + x, scratch, &count);
    for (int i = 0; i < count; i++)
      store_weight(scratch[i], i, taps->weights + (size_t)x * weights);
    span.first = taps->first[x] < span.first ? taps->first[x] : span.first;
    end = taps->first[x] + count > end ? taps->first[x] + count : end;
  }
  span.count = end - span.first;
  for (int x = 0; x < axis->count; x++)
    taps->first[x] -= span.first;
  return span;
}

struct resize {
  const struct image *from;
  struct image_box box;
  struct axis x, y;
  struct image_taps taps_x, taps_y;
  struct span columns, rows; /* of the box */
  uint8_t *intermediate;     /* [rows.count, stride] */
  uint8_t *margin; /* four rows of margin_bytes, for sources whose end lies too near the end of the picture's memory */
  uint8_t *block;  /* eight rows of stride: four on the way, four done */
  size_t stride, margin_bytes;
};

static bool changes(const struct axis *axis) {
  return axis->in != axis->out;
}

/* Pillow's rule, on the sizes of the whole output. */
static bool vertical_first(const struct resize *job) {
  const int64_t narrower = job->x.in > job->x.out ? job->x.in - job->x.out : 0;
  return job->y.in - (int64_t)job->y.out > 2 * narrower;
}

static size_t round_up(size_t bytes) {
  return (bytes + IMAGE_VECTOR_BYTES - 1) / IMAGE_VECTOR_BYTES * IMAGE_VECTOR_BYTES;
}

static void plan(struct resize *job, struct image_workspace *workspace) {
  const size_t taps_x = round_up(taps_bytes(&job->x)), taps_y = round_up(taps_bytes(&job->y));
  const int groups = groups_of(&job->x) > groups_of(&job->y) ? groups_of(&job->x) : groups_of(&job->y);
  reserve(&workspace->taps, &workspace->taps_bytes,
          taps_x + taps_y + (size_t)groups * IMAGE_TAP_GROUP * sizeof(double));
  double *scratch = (double *)(workspace->taps + taps_x + taps_y);
  job->columns = changes(&job->x) ? make_taps(&job->x, workspace->taps, scratch, &job->taps_x)
                                  : (struct span){job->x.first, job->x.count};
  job->rows = changes(&job->y) ? make_taps(&job->y, workspace->taps + taps_x, scratch, &job->taps_y)
                               : (struct span){job->y.first, job->y.count};
  /* A kernel reads whole groups of taps from any first column. */
  job->margin_bytes =
      round_up(((size_t)job->columns.count + (size_t)groups * IMAGE_TAP_GROUP) * 3 + IMAGE_VECTOR_BYTES);
  const size_t done = round_up((size_t)job->x.count * 3 + IMAGE_VECTOR_BYTES);
  job->stride = vertical_first(job) && job->margin_bytes > done ? job->margin_bytes : done;
  const size_t rows = job->stride * (size_t)job->rows.count, block = job->stride * 2 * IMAGE_ROW_BLOCK;
  reserve(&workspace->rows, &workspace->rows_bytes, rows + block + IMAGE_ROW_BLOCK * job->margin_bytes);
  job->intermediate = workspace->rows;
  job->block = workspace->rows + rows;
  job->margin = workspace->rows + rows + block;
}

/* Row `row` of the touched rows, from the first touched column, with room to read past its end. */
static const uint8_t *source_row(const struct resize *job, int row, int slot) {
  const struct image *from = job->from;
  const size_t offset =
      ((size_t)(job->box.top + job->rows.first + row) * from->width + job->box.left + job->columns.first) * 3;
  if (offset + job->margin_bytes <= from->capacity_bytes)
    return from->pixels + offset;
  uint8_t *copy = job->margin + (size_t)slot * job->margin_bytes;
  memcpy(copy, from->pixels + offset, (size_t)job->columns.count * 3);
  return copy;
}

/* Four rows of touched columns -> four rows of wanted columns. */
static void resize_columns(const struct resize *job, const struct image_kernels *kernels,
                           const uint8_t *const from[IMAGE_ROW_BLOCK], uint8_t *const to[IMAGE_ROW_BLOCK]) {
  if (changes(&job->x))
    kernels->horizontal(from, &job->taps_x, to);
  else
    for (int r = 0; r < IMAGE_ROW_BLOCK; r++)
      memcpy(to[r], from[r], (size_t)job->x.count * 3);
}

/* Wanted row y from the intermediate rows of `bytes` bytes; `rows` has room for a pointer per tap. */
static void resize_rows(const struct resize *job, const struct image_kernels *kernels, int y, int bytes,
                        const uint8_t **rows, uint8_t *to) {
  const struct image_taps *taps = &job->taps_y;
  if (!changes(&job->y)) {
    memcpy(to, job->intermediate + (size_t)y * job->stride, (size_t)bytes);
    return;
  }
  for (int k = 0; k < taps->groups * IMAGE_TAP_GROUP; k++) { /* weights beyond the last row are 0 */
    const int at = taps->first[y] + k;
    rows[k] = job->intermediate + (size_t)(at < job->rows.count ? at : job->rows.count - 1) * job->stride;
  }
  kernels->vertical(rows, taps->weights + (size_t)y * taps->groups * 2 * IMAGE_TAP_GROUP, taps->groups, to, bytes);
}

static void horizontal_then_vertical(const struct resize *job, const struct image_kernels *kernels,
                                     const uint8_t **rows, uint8_t *out) {
  const int count = job->rows.count;
  for (int row = 0; row < count; row += IMAGE_ROW_BLOCK) {
    const uint8_t *from[IMAGE_ROW_BLOCK];
    uint8_t *to[IMAGE_ROW_BLOCK];
    for (int r = 0; r < IMAGE_ROW_BLOCK; r++) { /* the last block repeats the last row */
      const int at = row + r < count ? row + r : count - 1;
      from[r] = source_row(job, at, r);
      to[r] = job->intermediate + (size_t)at * job->stride;
    }
    resize_columns(job, kernels, from, to);
  }
  const size_t row_bytes = (size_t)job->x.count * 3;
  for (int y = 0; y < job->y.count; y++) {
    resize_rows(job, kernels, y, (int)row_bytes, rows, job->block);
    memcpy(out + y * row_bytes, job->block, row_bytes);
  }
}

static void vertical_then_horizontal(const struct resize *job, const struct image_kernels *kernels,
                                     const uint8_t **rows, uint8_t *out) {
  const size_t touched_bytes = (size_t)job->columns.count * 3, row_bytes = (size_t)job->x.count * 3;
  for (int row = 0; row < job->rows.count; row++)
    memcpy(job->intermediate + (size_t)row * job->stride, source_row(job, row, 0), touched_bytes);
  for (int y = 0; y < job->y.count; y += IMAGE_ROW_BLOCK) {
    const uint8_t *from[IMAGE_ROW_BLOCK];
    uint8_t *to[IMAGE_ROW_BLOCK];
    const int count = job->y.count - y < IMAGE_ROW_BLOCK ? job->y.count - y : IMAGE_ROW_BLOCK;
    for (int r = 0; r < IMAGE_ROW_BLOCK; r++) {
      uint8_t *row = job->block + (size_t)r * job->stride;
      if (r < count)
        resize_rows(job, kernels, y + r, (int)touched_bytes, rows, row);
      from[r] = row;
      to[r] = row + IMAGE_ROW_BLOCK * job->stride;
    }
    resize_columns(job, kernels, from, to);
    for (int r = 0; r < count; r++)
      memcpy(out + (size_t)(y + r) * row_bytes, to[r], row_bytes);
  }
}

static enum status check_box(const struct image *from, const struct image_box *box) {
  if (box->left >= 0 && box->top >= 0 && box->width > 0 && box->height > 0 && box->left <= from->width - box->width &&
      box->top <= from->height - box->height)
    return STATUS_OK;
  return error_set(STATUS_INPUT, "the box %d x %d at (%d, %d) does not lie in the image of %d x %d pixels", box->width,
                   box->height, box->left, box->top, from->width, from->height);
}

enum { ROWS_ON_STACK = 64 };

/* The window of the box resized to x.out x y.out. */
static enum status resize_window(struct resize *job, struct image_workspace *workspace, uint8_t *out) {
  TRY(check_box(job->from, &job->box));
  plan(job, workspace);
  const size_t count = (size_t)groups_of(&job->y) * IMAGE_TAP_GROUP;
  const uint8_t *few[ROWS_ON_STACK],
      **rows = count <= ROWS_ON_STACK ? few : memory_allocate(count * sizeof *rows, "resize");
  if (vertical_first(job))
    vertical_then_horizontal(job, image_kernels_best(), rows, out);
  else
    horizontal_then_vertical(job, image_kernels_best(), rows, out);
  if (rows != few)
    memory_release(rows);
  return STATUS_OK;
}

enum status image_resize(const struct image *from, const struct image_box *box, int out_width, int out_height,
                         struct image_workspace *workspace, struct image *out) {
  TRY(image_prepare(NULL, out_width, out_height, out));
  struct resize job = {.from = from,
                       .box = *box,
                       .x = {box->width, out_width, 0, out_width, false},
                       .y = {box->height, out_height, 0, out_height, false}};
  return resize_window(&job, workspace, out->pixels);
}

/* round_half_even((long - size) / 2) */
static int centre_offset(int longer, int size) {
  return (int)rint((longer - size) / 2.0);
}

/* The part of a resized axis that the picture's `size` pixels show, and, where it is shorter, where it begins there. */
static struct axis visible(int in, int64_t out, int size, bool bilinear, int *margin) {
  const int whole = (int)out;
  *margin = whole < size ? (size - whole) / 2 : 0;
  return (struct axis){.in = in,
                       .out = whole,
                       .first = whole > size ? centre_offset(whole, size) : 0,
                       .count = whole > size ? size : whole,
                       .linear = bilinear};
}

/* Rows of `width` pixels at the start of `out` go to (left, top) of the picture; the rest is filled. From the last row
 * on, since every row moves towards the end. */
static void pad(uint8_t *out, int width, int height, int left, int top, const struct image_transform *transform) {
  const size_t row_bytes = (size_t)transform->width * 3, bytes = (size_t)width * 3, before = (size_t)left * 3;
  for (int y = transform->height - 1; y >= 0; y--) {
    uint8_t *row = out + (size_t)y * row_bytes;
    const bool shown = y >= top && y < top + height;
    if (shown)
      memmove(row + before, out + (size_t)(y - top) * bytes, bytes);
    memset(row, transform->fill, shown ? before : row_bytes);
    if (shown)
      memset(row + before + bytes, transform->fill, row_bytes - before - bytes);
  }
}

/* Both sides by one ratio: the picture then covers the transform's, or lies within it. */
static void keep_shape(const struct image *from, const struct image_transform *transform, int64_t sizes[2]) {
  const double wide = (double)from->width / transform->width, high = (double)from->height / transform->height;
  const double ratio = (transform->mode == RESIZE_LONGEST) == (wide > high) ? wide : high;
  sizes[0] = (int64_t)rint(from->width / ratio);
  sizes[1] = (int64_t)rint(from->height / ratio);
}

static bool is_oblong(const struct image_transform *transform) {
  return transform->width != transform->height;
}

static void resized_sizes(const struct image *from, const struct image_transform *transform, int64_t sizes[2]) {
  const int64_t size = transform->width, shorter = from->width < from->height ? from->width : from->height;
  if (transform->mode == RESIZE_SQUASH) {
    sizes[0] = transform->width;
    sizes[1] = transform->height;
  } else if (transform->mode == RESIZE_LONGEST || is_oblong(transform)) {
    keep_shape(from, transform, sizes);
  } else { /* the longer side is cut to whole pixels, not rounded */
    sizes[0] = size * from->width / shorter;
    sizes[1] = size * from->height / shorter;
  }
}

enum status image_transform(const struct image *from, const struct image_transform *transform,
                            struct image_workspace *workspace, uint8_t *out) {
  const bool bilinear = transform->bilinear && !(transform->mode == RESIZE_SHORTEST && is_oblong(transform));
  int64_t sizes[2];
  int left, top;
  resized_sizes(from, transform, sizes);
  if (sizes[0] < 1 || sizes[1] < 1 || sizes[0] > INT32_MAX / 4 || sizes[1] > INT32_MAX / 4)
    return error_set(STATUS_INPUT, "an image of %d x %d pixels is too thin to be resized to %d x %d", from->width,
                     from->height, transform->width, transform->height);
  struct resize job = {.from = from,
                       .box = {0, 0, from->width, from->height},
                       .x = visible(from->width, sizes[0], transform->width, bilinear, &left),
                       .y = visible(from->height, sizes[1], transform->height, bilinear, &top)};
  TRY(resize_window(&job, workspace, out));
  if (job.x.count < transform->width || job.y.count < transform->height)
    pad(out, job.x.count, job.y.count, left, top, transform);
  return STATUS_OK;
}

enum status image_transform_eval(const struct image *from, int size, struct image_workspace *workspace, uint8_t *out) {
  return image_transform(from, &(struct image_transform){.width = size, .height = size}, workspace, out);
}

enum status image_transform_parse(const char *mode, const char *interpolation, struct image_transform *transform) {
  static const char *const modes[] = {"shortest", "longest", "squash"};
  int found = -1;
  for (int i = 0; i < 3; i++)
    found = strcmp(mode, modes[i]) == 0 ? i : found;
  if (found < 0)
    return error_set(STATUS_INPUT, "resize mode '%s' is none of shortest, longest, squash", mode);
  transform->mode = (enum image_resize_mode)found;
  transform->bilinear = strcmp(interpolation, "bilinear") == 0;
  /* open_clip takes 'random' for bicubic where nothing is drawn at random */
  if (!transform->bilinear && strcmp(interpolation, "bicubic") != 0 && strcmp(interpolation, "random") != 0)
    return error_set(STATUS_INPUT, "interpolation '%s' is none of bicubic, bilinear", interpolation);
  return STATUS_OK;
}

enum status image_transform_crop(const struct image *from, const struct image_box *box, int width, int height,
                                 struct image_workspace *workspace, uint8_t *out) {
  struct resize job = {.from = from,
                       .box = *box,
                       .x = {box->width, width, 0, width, false},
                       .y = {box->height, height, 0, height, false}};
  return resize_window(&job, workspace, out);
}
