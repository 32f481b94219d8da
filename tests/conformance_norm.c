/* Residual addition with layer norm, forward and backward. */
#include "conformance.h"
#include <math.h>

/* A row of the reference: x = x_in + gamma branch, xhat, rstd. */
struct norm_row {
  double mean, rstd, largest; /* largest |x| */
};
static struct norm_row reference_row(const double *x, int64_t width) {
  struct norm_row row = {0, 0, 0};
  double square = 0;
  for (int64_t i = 0; i < width; i++) {
    row.mean += x[i] / (double)width;
    row.largest = fmax(row.largest, fabs(x[i]));
  }
  for (int64_t i = 0; i < width; i++)
    square += (x[i] - row.mean) * (x[i] - row.mean);
  row.rstd = 1 / sqrt(square / (double)width + 1e-5);
  return row;
}
/* How far an error of a few units of the largest |x| goes in y: it is divided by the deviation, twice where rstd itself
 * is off. */
static double norm_bound(const struct norm_row *row, int64_t width, double weight, double bias) {
  double units = conformance_sum_bound(width, 1);
  return 4 * units * (fabs(weight) * (1 + row->largest * row->rstd) * (1 + row->largest * row->rstd) + fabs(bias));
}

/* Widths of real towers, one of them each round beside random ones: rows that several warps share on a GPU. */
static const int64_t tower_widths[] = {768, 1024, 512, 1280, 1664, 640, 3072, 384};
static int64_t tower_width(const struct conformance *c) {
  return tower_widths[c->seed % (sizeof tower_widths / sizeof *tower_widths)];
}

static void check_norm(struct conformance *c, enum dtype dtype, int64_t rows, int64_t width) {
  int64_t count = rows * width;
  bool with_branch = conformance_flag(c), with_gamma = conformance_flag(c), in_place = conformance_flag(c),
       with_y = conformance_flag(c) || !with_branch;
  bool keep = conformance_flag(c);
  enum dtype y_dtype = conformance_flag(c) ? dtype : DTYPE_F32;
  conformance_note(c, "rows %d width %d branch %d gamma %d in place %d y %d keep %d", (int)rows, (int)width,
                   with_branch, with_gamma, in_place, with_y, keep);
  struct tensor *x = tensor_random(c, DTYPE_F32, count, 2),
                *branch = with_branch ? tensor_random(c, dtype, count, 1) : NULL;
  struct tensor *gamma = with_gamma ? tensor_random(c, DTYPE_F32, width, 1) : NULL;
  struct tensor *weight = tensor_random(c, DTYPE_F32, width, 1), *bias = tensor_random(c, DTYPE_F32, width, 1);
  struct tensor *x_out = !with_branch ? NULL : in_place ? x : tensor_result(c, DTYPE_F32, count);
  struct tensor *y = with_y ? tensor_result(c, y_dtype, count) : NULL;
  struct tensor *mean = keep ? tensor_result(c, DTYPE_F32, rows) : NULL,
                *rstd = keep ? tensor_result(c, DTYPE_F32, rows) : NULL;
  double *sum = conformance_doubles(c, count), *sum_bound = conformance_doubles(c, count),
         *expected = conformance_doubles(c, count), *bound = conformance_doubles(c, count),
         *mean_expected = conformance_doubles(c, rows), *rstd_expected = conformance_doubles(c, rows),
         *mean_bound = conformance_doubles(c, rows), *rstd_bound = conformance_doubles(c, rows);
  for (int64_t i = 0; i < count; i++) {
    double added = branch ? branch->value[i] * (gamma ? gamma->value[i % width] : 1) : 0;
    sum[i] = x->value[i] + added;
    sum_bound[i] = conformance_sum_bound(1, fabs(x->value[i]) + fabs(added));
  }
  for (int64_t r = 0; r < rows; r++) {
    struct norm_row row = reference_row(sum + r * width, width);
    mean_expected[r] = row.mean;
    rstd_expected[r] = row.rstd;
    mean_bound[r] = conformance_sum_bound(width, row.largest);
    rstd_bound[r] = 4 * conformance_sum_bound(width, row.rstd * (1 + row.largest * row.rstd));
    for (int64_t i = 0; i < width; i++) {
      expected[r * width + i] = (sum[r * width + i] - row.mean) * row.rstd * weight->value[i] + bias->value[i];
      bound[r * width + i] = norm_bound(&row, width, weight->value[i], bias->value[i]);
    }
  }
  c->device->op->norm(c->device, &(struct norm){.rows = rows,
                                                .width = width,
                                                .dtype = dtype,
                                                .y_dtype = y_dtype,
                                                .x = x->data,
                                                .branch = tensor_data(branch),
                                                .gamma = tensor_data(gamma),
                                                .weight = weight->data,
                                                .bias = bias->data,
                                                .x_out = tensor_data(x_out),
                                                .y = tensor_data(y),
                                                .mean = with_y ? tensor_data(mean) : NULL,
                                                .rstd = with_y ? tensor_data(rstd) : NULL});
  if (x_out)
    conformance_check(c, "x_out", x_out, sum, sum_bound);
  if (y)
    conformance_check(c, "y", y, expected, bound);
  if (y && keep) {
    conformance_check(c, "mean", mean, mean_expected, mean_bound);
    conformance_check(c, "rstd", rstd, rstd_expected, rstd_bound);
  }
}

static void test_norm(struct conformance *c, enum dtype dtype) {
  int64_t rows = conformance_size(c, 40);
  check_norm(c, dtype, rows, conformance_size(c, 200));
  check_norm(c, dtype, 3, tower_width(c));
}

/* loss = sum dy * norm(x) for finite differences by x. */
struct norm_reference {
  int64_t rows, width;
  double *x, *weight;
  const double *dy;
};
static double norm_loss(void *context) {
  const struct norm_reference *r = context;
  double loss = 0;
  for (int64_t n = 0; n < r->rows; n++) {
    struct norm_row row = reference_row(r->x + n * r->width, r->width);
    for (int64_t i = 0; i < r->width; i++)
      loss += r->dy[n * r->width + i] * (r->x[n * r->width + i] - row.mean) * row.rstd * r->weight[i];
  }
  return loss;
}

/* Adds the gradient by x to dx, by weight to dweight; bound likewise. */
static void norm_reference_backward(const struct norm_reference *r, double *dx, double *dweight, double *bound,
                                    double *weight_bound) {
  for (int64_t n = 0; n < r->rows; n++) {
    const double *x = r->x + n * r->width, *dy = r->dy + n * r->width;
    struct norm_row row = reference_row(x, r->width);
    double mean_g = 0, mean_product = 0, magnitude = 0;
    for (int64_t i = 0; i < r->width; i++) {
      double g = dy[i] * r->weight[i], xhat = (x[i] - row.mean) * row.rstd;
      mean_g += g / (double)r->width;
      mean_product += g * xhat / (double)r->width;
      magnitude = fmax(magnitude, fabs(g) * (1 + fabs(xhat)));
      dweight[i] += dy[i] * xhat;
      weight_bound[i] += conformance_sum_bound(r->rows + 8, fabs(dy[i]) * (1 + row.largest * row.rstd));
    }
    for (int64_t i = 0; i < r->width; i++) {
      double xhat = (x[i] - row.mean) * row.rstd;
      dx[n * r->width + i] += row.rstd * (dy[i] * r->weight[i] - mean_g - xhat * mean_product);
      bound[n * r->width + i] +=
          4 * conformance_sum_bound(r->width, row.rstd * magnitude * (1 + row.largest * row.rstd) * (1 + fabs(xhat)));
    }
  }
}

static double *copy_values(struct conformance *c, const struct tensor *tensor) {
  double *values = conformance_doubles(c, tensor->count);
  for (int64_t i = 0; i < tensor->count; i++)
    values[i] = tensor->value[i];
  return values;
}

/* mean and rstd are those of the reference, so that only the backward is judged. */
static void norm_statistics(struct conformance *c, const struct norm_reference *r, struct tensor **mean,
                            struct tensor **rstd) {
  double *m = conformance_doubles(c, r->rows), *s = conformance_doubles(c, r->rows);
  for (int64_t n = 0; n < r->rows; n++) {
    struct norm_row row = reference_row(r->x + n * r->width, r->width);
    m[n] = row.mean;
    s[n] = row.rstd;
  }
  *mean = tensor_from(c, DTYPE_F32, r->rows, m);
  *rstd = tensor_from(c, DTYPE_F32, r->rows, s);
}

struct branch_check {
  struct tensor *dbranch, *bias, *dgamma;
  double *bias_start, *gamma_start;
};
/* From the reference's dx: dbranch = gamma dx, its column sums, and those of dx * branch. */
static void check_branch(struct conformance *c, const struct branch_check *check, const struct tensor *branch,
                         const struct tensor *gamma, const double *dx, const double *dx_bound, int64_t width) {
  int64_t count = branch->count, rows = count / width;
  double *expected = conformance_doubles(c, count), *bound = conformance_doubles(c, count),
         *bias_bound = conformance_doubles(c, width), *gamma_bound = conformance_doubles(c, width);
  for (int64_t i = 0; i < count; i++) {
    double factor = gamma ? gamma->value[i % width] : 1;
    expected[i] = factor * dx[i];
    bound[i] = fabs(factor) * (dx_bound[i] + 2 * conformance_unit(DTYPE_F32) * fabs(dx[i]));
    double rounding = conformance_unit(check->dbranch->dtype) * fabs(expected[i]);
    bias_bound[i % width] += bound[i] + rounding + conformance_sum_bound(rows, fabs(expected[i]));
    gamma_bound[i % width] += fabs(branch->value[i]) * (dx_bound[i] + conformance_sum_bound(rows, fabs(dx[i])));
    if (check->bias)
      check->bias_start[i % width] += expected[i];
    if (check->dgamma)
      check->gamma_start[i % width] += dx[i] * branch->value[i];
  }
  for (int64_t i = 0; i < width; i++) {
    bias_bound[i] += conformance_sum_bound(rows, 4);
    gamma_bound[i] += conformance_sum_bound(rows, 4);
  }
  conformance_check(c, "dbranch", check->dbranch, expected, bound);
  if (check->bias)
    conformance_check(c, "dbranch_bias", check->bias, check->bias_start, bias_bound);
  if (check->dgamma)
    conformance_check(c, "dgamma", check->dgamma, check->gamma_start, gamma_bound);
}

static void check_norm_backward(struct conformance *c, enum dtype dtype, int64_t rows, int64_t width) {
  int64_t count = rows * width;
  bool with_dy = conformance_flag(c) || conformance_flag(c), zero = conformance_flag(c),
       with_branch = conformance_flag(c), with_gamma = conformance_flag(c);
  bool wanted = conformance_flag(c);
  enum dtype dy_dtype = conformance_flag(c) ? dtype : DTYPE_F32;
  conformance_note(c, "rows %d width %d dy %d dx_zero %d branch %d gamma %d parameters %d", (int)rows, (int)width,
                   with_dy, zero, with_branch, with_gamma, wanted);
  struct tensor *x = tensor_random(c, DTYPE_F32, count, 1), *weight = tensor_random(c, DTYPE_F32, width, 1), *mean,
                *rstd;
  struct tensor *dy = with_dy ? tensor_random(c, dy_dtype, count, 1) : NULL,
                *gamma = with_gamma ? tensor_random(c, DTYPE_F32, width, 1) : NULL;
  struct tensor *branch = tensor_random(c, dtype, count, 1);
  struct tensor *dx = zero ? tensor_result(c, DTYPE_F32, count) : tensor_random(c, DTYPE_F32, count, 1);
  struct tensor *dweight = wanted ? tensor_random(c, DTYPE_F32, width, 1) : NULL,
                *dbias = wanted ? tensor_random(c, DTYPE_F32, width, 1) : NULL;
  struct branch_check check = {.dbranch = with_branch ? tensor_result(c, dtype, count) : NULL,
                               .bias = wanted ? tensor_random(c, DTYPE_F32, width, 1) : NULL,
                               .dgamma = wanted ? tensor_random(c, DTYPE_F32, width, 1) : NULL};
  if (wanted) {
    check.bias_start = copy_values(c, check.bias);
    check.gamma_start = copy_values(c, check.dgamma);
  }
  struct norm_reference reference = {rows, width, copy_values(c, x), copy_values(c, weight),
                                     dy ? copy_values(c, dy) : NULL};
  norm_statistics(c, &reference, &mean, &rstd);
  double *gradient = conformance_doubles(c, count), *bound = conformance_doubles(c, count),
         *weight_bound = conformance_doubles(c, width);
  double *dweight_expected = wanted ? copy_values(c, dweight) : conformance_doubles(c, width),
         *weight_gradient = conformance_doubles(c, width);
  double *dbias_expected = wanted ? copy_values(c, dbias) : conformance_doubles(c, width);
  if (dy) {
    norm_reference_backward(&reference, gradient, weight_gradient, bound, weight_bound);
    conformance_check_gradient(c, "reference dx", norm_loss, &reference, reference.x, gradient, count);
    conformance_check_gradient(c, "reference dweight", norm_loss, &reference, reference.weight, weight_gradient, width);
    for (int64_t i = 0; i < count; i++)
      dbias_expected[i % width] += reference.dy[i];
  }
  for (int64_t i = 0; i < width; i++) {
    dweight_expected[i] += weight_gradient[i];
    weight_bound[i] += conformance_sum_bound(rows, 4);
  }
  for (int64_t i = 0; i < count; i++) {
    gradient[i] += zero ? 0 : dx->value[i];
    bound[i] += zero ? 0 : conformance_sum_bound(1, fabs(dx->value[i]));
  }
  c->device->op->norm_backward(c->device, &(struct norm_backward){.rows = rows,
                                                                  .width = width,
                                                                  .dtype = dtype,
                                                                  .dy_dtype = dy_dtype,
                                                                  .dx_zero = zero,
                                                                  .dy = tensor_data(dy),
                                                                  .x = x->data,
                                                                  .mean = mean->data,
                                                                  .rstd = rstd->data,
                                                                  .weight = weight->data,
                                                                  .gamma = tensor_data(gamma),
                                                                  .branch = branch->data,
                                                                  .dx = dx->data,
                                                                  .dweight = tensor_data(dweight),
                                                                  .dbias = tensor_data(dbias),
                                                                  .dbranch = tensor_data(check.dbranch),
                                                                  .dbranch_bias = tensor_data(check.bias),
                                                                  .dgamma = tensor_data(check.dgamma)});
  conformance_check(c, "dx", dx, gradient, bound);
  if (wanted) {
    conformance_check(c, "dweight", dweight, dweight_expected, weight_bound);
    conformance_check_all(c, "dbias", dbias, dbias_expected, conformance_sum_bound(rows, 4 * (double)rows));
  }
  if (with_branch)
    check_branch(c, &check, branch, gamma, gradient, bound, width);
}

static void test_norm_backward(struct conformance *c, enum dtype dtype) {
  int64_t rows = conformance_size(c, 80);
  check_norm_backward(c, dtype, rows, 2 + conformance_size(c, 150));
  check_norm_backward(c, dtype, 19, tower_width(c));
}

const struct conformance_case conformance_norm[] = {{"norm", test_norm}, {"norm_backward", test_norm_backward}, {0}};
