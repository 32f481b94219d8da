/* Normalisation, the distillation losses and the contrastive loss. All of it is fp32; both dtypes run the same with
 * other shapes, but for the products of the contrastive loss. */
#include "conformance.h"
#include <math.h>

static double dot(const double *a, const double *b, int64_t width) {
  double sum = 0;
  for (int64_t i = 0; i < width; i++)
    sum += a[i] * b[i];
  return sum;
}

/* loss = sum dy * x / |x| of one row */
struct normalize_reference {
  int64_t width;
  double *x;
  const double *dy;
};
static double normalize_loss(void *context) {
  const struct normalize_reference *r = context;
  return dot(r->x, r->dy, r->width) / sqrt(dot(r->x, r->x, r->width));
}

static void test_normalize(struct conformance *c, enum dtype dtype) {
  (void)dtype;
  int64_t rows = conformance_size(c, 20), width = 1 + conformance_size(c, 90), count = rows * width;
  conformance_note(c, "rows %d width %d", (int)rows, (int)width);
  struct tensor *x = tensor_random(c, DTYPE_F32, count, 2), *dy = tensor_random(c, DTYPE_F32, count, 1);
  struct tensor *y = tensor_result(c, DTYPE_F32, count), *norm = tensor_result(c, DTYPE_F32, rows),
                *dx = tensor_result(c, DTYPE_F32, count);
  double *y_expected = conformance_doubles(c, count), *dx_expected = conformance_doubles(c, count),
         *norm_expected = conformance_doubles(c, rows);
  double smallest = INFINITY;
  for (int64_t r = 0; r < rows; r++) {
    struct normalize_reference reference = {width, x->value + r * width, dy->value + r * width};
    double length = norm_expected[r] = sqrt(dot(reference.x, reference.x, width)),
           along = normalize_loss(&reference) / length;
    for (int64_t i = 0; i < width; i++) {
      y_expected[r * width + i] = reference.x[i] / length;
      dx_expected[r * width + i] = (reference.dy[i] - reference.x[i] * along) / length;
    }
    smallest = fmin(smallest, length);
    if (r == 0 && length > 0.1)
      conformance_check_gradient(c, "reference", normalize_loss, &reference, reference.x, dx_expected, width);
  }
  struct normalize call = {
      .rows = rows, .width = width, .x = x->data, .y = y->data, .norm = norm->data, .dy = dy->data, .dx = dx->data};
  c->device->op->normalize(c->device, &call);
  conformance_check_all(c, "y", y, y_expected, conformance_sum_bound(width, 1));
  conformance_check_all(c, "norm", norm, norm_expected, conformance_sum_bound(width, 2 * sqrt((double)width)));
  c->device->op->normalize_backward(c->device, &call);
  conformance_check_all(c, "dx", dx, dx_expected, conformance_sum_bound(width, 4 * sqrt((double)width) / smallest));
}

static void test_normalize_zero(struct conformance *c, enum dtype dtype) {
  (void)dtype;
  double zeros[5] = {0};
  struct tensor *x = tensor_from(c, DTYPE_F32, 5, zeros), *y = tensor_result(c, DTYPE_F32, 5),
                *norm = tensor_result(c, DTYPE_F32, 1);
  c->device->op->normalize(c->device,
                           &(struct normalize){.rows = 1, .width = 5, .x = x->data, .y = y->data, .norm = norm->data});
  conformance_check_all(c, "y of a row of zeros", y, zeros, 0);
}

struct distill_reference {
  int64_t batch, width;
  enum distill_loss kind;
  double scale;
  double *student;
  const double *teacher;
};
static double distill_row(const struct distill_reference *r, const double *t, const double *s, double *cosine) {
  double square = dot(t, t, r->width) + dot(s, s, r->width) - 2 * dot(t, s, r->width);
  *cosine = dot(t, s, r->width) / sqrt(dot(t, t, r->width) * dot(s, s, r->width));
  return r->kind == DISTILL_COSINE ? 1 - *cosine : r->kind == DISTILL_MSE ? square / (double)r->width : sqrt(square);
}
static double distill_total(void *context) {
  const struct distill_reference *r = context;
  double sum = 0, cosine;
  for (int64_t b = 0; b < r->batch; b++)
    sum += r->scale * distill_row(r, r->teacher + b * r->width, r->student + b * r->width, &cosine);
  return sum;
}

static void test_distill(struct conformance *c, enum dtype dtype) {
  (void)dtype;
  int64_t batch = conformance_size(c, 20), width = 4 + conformance_size(c, 90), count = batch * width;
  enum distill_loss kind = (enum distill_loss)(conformance_uniform(c) * 3);
  bool wanted = conformance_flag(c);
  conformance_note(c, "batch %d width %d kind %d gradient %d", (int)batch, (int)width, kind, wanted);
  struct tensor *teacher = tensor_random(c, DTYPE_F32, count, 1), *student = tensor_random(c, DTYPE_F32, count, 1);
  struct tensor *loss = tensor_from(c, DTYPE_F64, 1, (double[]){0.5}),
                *dstudent = wanted ? tensor_result(c, DTYPE_F32, count) : NULL;
  struct tensor *cosine = wanted ? tensor_result(c, DTYPE_F32, batch) : NULL;
  double *gradient = conformance_doubles(c, count), *cosines = conformance_doubles(c, batch);
  struct distill_reference r = {batch, width, kind, 0.25, conformance_doubles(c, count), teacher->value};
  for (int64_t i = 0; i < count; i++)
    r.student[i] = student->value[i];
  for (int64_t b = 0; b < batch; b++) {
    const double *t = r.teacher + b * width, *s = r.student + b * width;
    double row = distill_row(&r, t, s, &cosines[b]), lengths = sqrt(dot(t, t, width) * dot(s, s, width));
    for (int64_t i = 0; i < width; i++) {
      double d = kind == DISTILL_COSINE ? cosines[b] * s[i] / dot(s, s, width) - t[i] / lengths
                 : kind == DISTILL_MSE  ? 2 * (s[i] - t[i]) / (double)width
                                        : (s[i] - t[i]) / row;
      gradient[b * width + i] = r.scale * d;
    }
  }
  conformance_check_gradient(c, "reference", distill_total, &r, r.student, gradient, count);
  double expected = 0.5 + distill_total(&r);
  c->device->op->distill(c->device, &(struct distill){.batch = batch,
                                                      .width = width,
                                                      .kind = kind,
                                                      .scale = r.scale,
                                                      .teacher = teacher->data,
                                                      .student = student->data,
                                                      .loss = loss->data,
                                                      .dstudent = tensor_data(dstudent),
                                                      .cosine = tensor_data(cosine)});
  conformance_check_all(c, "loss", loss, &expected, conformance_sum_bound(width, 4 * fabs(expected) + (double)batch));
  if (wanted) {
    conformance_check_all(c, "dstudent", dstudent, gradient, conformance_sum_bound(width, 2));
    conformance_check_all(c, "cosine", cosine, cosines, conformance_sum_bound(width, 2));
  }
}

struct contrastive_reference {
  int64_t global, width;
  double weight, logit_scale;
  double *images, *texts;
};
static double logit(const struct contrastive_reference *r, int64_t i, int64_t j) {
  return exp(r->logit_scale) * dot(r->images + i * r->width, r->texts + j * r->width, r->width);
}
/* log-sum-exp of image i's row, or of text i's column */
static double normaliser(const struct contrastive_reference *r, int64_t i, bool column) {
  double largest = -INFINITY, sum = 0;
  for (int64_t j = 0; j < r->global; j++)
    largest = fmax(largest, column ? logit(r, j, i) : logit(r, i, j));
  for (int64_t j = 0; j < r->global; j++)
    sum += exp((column ? logit(r, j, i) : logit(r, i, j)) - largest);
  return largest + log(sum);
}
static double contrastive_terms(const struct contrastive_reference *r, int64_t first, int64_t count) {
  double sum = 0;
  for (int64_t i = first; i < first + count; i++)
    sum += normaliser(r, i, false) + normaliser(r, i, true) - 2 * logit(r, i, i);
  return r->weight / (2 * (double)r->global) * sum;
}
static double contrastive_total(void *context) {
  const struct contrastive_reference *r = context;
  return contrastive_terms(r, 0, r->global);
}

static double *unit_rows(struct conformance *c, int64_t rows, int64_t width) {
  double *x = conformance_doubles(c, rows * width);
  for (int64_t i = 0; i < rows * width; i++)
    x[i] = conformance_normal(c);
  for (int64_t r = 0; r < rows; r++) {
    double length = sqrt(dot(x + r * width, x + r * width, width));
    for (int64_t i = 0; i < width; i++)
      x[r * width + i] /= length;
  }
  return x;
}

/* Gradients of all rows, and the sums of the absolute values of their terms; returns by the logit scale, from the rows
 * first .. first+count-1. */
static double contrastive_gradients(struct conformance *c, const struct contrastive_reference *r, int64_t first,
                                    int64_t count, double *gradient[2], double *size[2]) {
  int64_t global = r->global, width = r->width;
  double *row = conformance_doubles(c, global), *column = conformance_doubles(c, global), dscale = 0,
         s = exp(r->logit_scale);
  for (int64_t i = 0; i < global; i++) {
    row[i] = normaliser(r, i, false);
    column[i] = normaliser(r, i, true);
  }
  for (int64_t i = 0; i < global; i++)
    for (int64_t j = 0; j < global; j++) {
      double a = logit(r, i, j),
             d = r->weight / (2 * (double)global) * (exp(a - row[i]) + exp(a - column[j]) - (i == j ? 2 : 0));
      if (i >= first && i < first + count)
        dscale += d * a;
      for (int64_t k = 0; k < width; k++) {
        gradient[0][i * width + k] += d * s * r->texts[j * width + k];
        gradient[1][j * width + k] += d * s * r->images[i * width + k];
        size[0][i * width + k] += fabs(d * s * r->texts[j * width + k]);
        size[1][j * width + k] += fabs(d * s * r->images[i * width + k]);
      }
    }
  return dscale;
}

/* By all ranks: the one that the call is for, and those before and behind it. */
static void find_normalisers(struct conformance *c, const struct contrastive *call) {
  struct contrastive other = *call;
  c->device->op->contrastive_normalisers(c->device, call);
  other.first = 0;
  other.count = call->first;
  c->device->op->contrastive_normalisers(c->device, &other);
  other.first = call->first + call->count;
  other.count = call->global - other.first;
  c->device->op->contrastive_normalisers(c->device, &other);
}

/* What a call must give, for all rows: gradients with their bounds, and the logit scale's. */
struct contrastive_expected {
  double *gradient[2], *bound[2], dscale, dscale_bound;
};

/* One side's gradient alone: the logit scale's comes of that side's rows then. */
static void check_side(struct conformance *c, struct contrastive call, int side,
                       const struct contrastive_expected *expected) {
  struct tensor *gradient = tensor_result(c, DTYPE_F32, call.count * call.width),
                *dscale = tensor_from(c, DTYPE_F32, 1, (double[]){0});
  call.dimages = side ? NULL : gradient->data;
  call.dtexts = side ? gradient->data : NULL;
  call.dlogit_scale = dscale->data;
  c->device->op->contrastive(c->device, &call);
  const int64_t from = call.first * call.width;
  conformance_check(c, "gradient of one side", gradient, expected->gradient[side] + from, expected->bound[side] + from);
  if (side == 0 || call.count == call.global)
    conformance_check_all(c, "dlogit_scale of one side", dscale, &expected->dscale, expected->dscale_bound);
}

/* The owned rows are first .. first+count-1. */
static void check_contrastive(struct conformance *c, enum dtype dtype, int64_t global, int64_t first, int64_t count,
                              int64_t width, double logit_scale) {
  conformance_note(c, "global %d width %d first %d count %d logit scale %g", (int)global, (int)width, (int)first,
                   (int)count, logit_scale);
  struct tensor *images = tensor_from(c, DTYPE_F32, global * width, unit_rows(c, global, width));
  struct tensor *texts = tensor_from(c, DTYPE_F32, global * width, unit_rows(c, global, width));
  struct tensor *scale = tensor_from(c, DTYPE_F32, 1, &logit_scale),
                *loss = tensor_from(c, DTYPE_F64, 1, (double[]){0.5});
  struct tensor *dimages = tensor_result(c, DTYPE_F32, count * width),
                *dtexts = tensor_result(c, DTYPE_F32, count * width);
  struct tensor *dscale = tensor_from(c, DTYPE_F32, 1, (double[]){0.25});
  double *all[2] = {conformance_doubles(c, global * width), conformance_doubles(c, global * width)};
  double *size[2] = {conformance_doubles(c, global * width), conformance_doubles(c, global * width)};
  struct contrastive_reference r = {global, width, 0.75, scale->value[0], images->value, texts->value};
  double dscale_expected = 0.25 + contrastive_gradients(c, &r, first, count, all, size);
  if (global < 30) {
    double *again[2] = {conformance_doubles(c, global * width), conformance_doubles(c, global * width)};
    double whole = contrastive_gradients(c, &r, 0, global, again, again);
    conformance_check_gradient(c, "reference dimages", contrastive_total, &r, r.images, all[0], global * width);
    conformance_check_gradient(c, "reference dtexts", contrastive_total, &r, r.texts, all[1], global * width);
    conformance_check_gradient(c, "reference dlogit_scale", contrastive_total, &r, &r.logit_scale, &whole, 1);
  }
  double expected = 0.5 + contrastive_terms(&r, first, count), s = exp(r.logit_scale);
  struct contrastive call = {.global = global,
                             .width = width,
                             .first = first,
                             .count = count,
                             .dtype = dtype,
                             .weight = r.weight,
                             .images = images->data,
                             .texts = texts->data,
                             .logit_scale = scale->data,
                             .normalisers = tensor_result(c, DTYPE_F32, 2 * global)->data,
                             .loss = loss->data,
                             .dimages = dimages->data,
                             .dtexts = dtexts->data,
                             .dlogit_scale = dscale->data};
  find_normalisers(c, &call);
  c->device->op->contrastive(c->device, &call);
  /* Logits of up to s have errors of s times those of a product of unit vectors; probabilities have the same,
   * relatively. In bf16 logits are off by 2^-16 s more, and the gradients by the roundings of two operands. */
  const bool half = dtype == DTYPE_BF16;
  double logits = conformance_sum_bound(half ? 3 * width : width, s + 8) + (half ? 0x1p-16 * s : 0),
         rows = (double)count / (double)global;
  conformance_check_all(c, "loss", loss, &expected, 4 * logits * rows + 1e-6 * rows);
  double per_row = s / (2 * (double)global) * (4 * logits + conformance_sum_bound(global, 4));
  for (int side = 0; side < 2; side++)
    for (int64_t i = 0; i < global * width; i++)
      size[side][i] = per_row + (half ? 2 * conformance_unit(dtype) * size[side][i] : 0);
  conformance_check(c, "dimages", dimages, all[0] + first * width, size[0] + first * width);
  conformance_check(c, "dtexts", dtexts, all[1] + first * width, size[1] + first * width);
  const double dscale_bound = 4 * rows * s * logits + conformance_sum_bound(8, 1);
  conformance_check_all(c, "dlogit_scale", dscale, &dscale_expected, dscale_bound);
  for (int side = 0; side < 2; side++)
    check_side(
        c, call, side,
        &(struct contrastive_expected){{all[0], all[1]}, {size[0], size[1]}, dscale_expected - 0.25, dscale_bound});
}

static void test_contrastive(struct conformance *c, enum dtype dtype) {
  int64_t global = conformance_size(c, 40), width = 1 + conformance_size(c, 40);
  int64_t first = (int64_t)(conformance_uniform(c) * (double)global), count = conformance_size(c, global - first);
  count = count > global - first ? global - first : count;
  if (conformance_flag(c)) /* one rank owns all */
    first = 0, count = global;
  check_contrastive(c, dtype, global, first, count, width, 4.6 * conformance_uniform(c));
}

/* More rows and columns than a tile has. */
static void test_contrastive_tiles(struct conformance *c, enum dtype dtype) {
  if (c->seed % 1000 == 0)
    check_contrastive(c, dtype, 1100, 100, 700, 3, 3);
  if (c->seed % 1000 == 1)
    check_contrastive(c, dtype, 1050, 0, 1050, 3, 3);
}

const struct conformance_case conformance_loss[] = {
    {"normalize", test_normalize},     {"normalize of zeros", test_normalize_zero},      {"distill", test_distill},
    {"contrastive", test_contrastive}, {"contrastive by tiles", test_contrastive_tiles}, {0}};
