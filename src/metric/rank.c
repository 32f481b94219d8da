/* Ranks by counting, tile by tile: a score matrix is never stored and nothing is sorted. */
#include "metric/metric.h"
#include "metric/score_kernel.h"
#include "base/memory.h"
#include <math.h>
#include <string.h>

enum { CHUNK_BYTES = 768 << 10 }; /* packed texts that stay in the second-level cache while all images pass by */

/* Images first_image .. +image_count against texts first_text .. +text_count. Bests are absolute numbers. */
struct counting {
  const struct retrieval *set;
  const struct score_kernels *kernels;
  int64_t first_image, image_count, first_text, text_count;
  float *text_score; /* [M] score of each text with its image */
  float *row_score;  /* [image_count] score of the image's best text; +infinity without one */
  int64_t *row_best; /* [image_count] that text, -1 without one */
  int32_t *row_count, *column_count;
  const struct metric_listener *listener; /* NULL: nobody listens */
};

static int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

/* text_score[j] = score(image_of_text[j], j), by the same chain as in a tile. */
static void score_own_images(const struct counting *counting) {
  const struct retrieval *set = counting->set;
  int lanes = counting->kernels->pairs;
  int64_t width = set->width;
#pragma omp parallel
  {
    float *texts = memory_allocate((size_t)(2 * lanes * width + 1) * sizeof *texts, "packed pairs"),
          *images = texts + lanes * width;
    float scores[SCORE_PAIRS_MAX];
#pragma omp for schedule(static)
    for (int64_t first = 0; first < set->text_count; first += lanes) {
      int64_t count = smaller(lanes, set->text_count - first);
      score_pack(set->texts + first * width, count, width, lanes, texts);
      for (int64_t p = 0; p < count; p++)
        for (int64_t e = 0; e < width; e++)
          images[e * lanes + p] = set->images[set->image_of_text[first + p] * width + e];
      counting->kernels->score_pairs(texts, images, width, scores);
      memcpy(counting->text_score + first, scores, (size_t)count * sizeof scores[0]);
    }
    memory_release(texts);
  }
}

/* An image's rank is that of its best text: the greatest score, and among equal ones the smallest index. */
static void find_best_texts(struct counting *counting) {
  for (int64_t i = 0; i < counting->image_count; i++) {
    counting->row_best[i] = -1;
    counting->row_score[i] = INFINITY;
  }
  for (int64_t j = 0; j < counting->set->text_count; j++) {
    int64_t i = counting->set->image_of_text[j] - counting->first_image;
    if (i < 0 || i >= counting->image_count)
      continue;
    if (counting->row_best[i] >= 0 && !(counting->text_score[j] > counting->row_score[i]) &&
        !isnan(counting->row_score[i]))
      continue;
    counting->row_best[i] = j;
    counting->row_score[i] = counting->text_score[j];
  }
}

struct packed_texts { /* one chunk: panels of kernels->columns texts */
  float *panels;
  float *score;
  int32_t *best, *count;
  int64_t first, texts, panel_count;
};

static void pack_panel(const struct counting *counting, struct packed_texts *chunk, int64_t panel) {
  const struct retrieval *set = counting->set;
  int64_t columns = counting->kernels->columns, first = chunk->first + panel * columns;
  int64_t count = smaller(columns, chunk->first + chunk->texts - first);
  score_pack(set->texts + first * set->width, count, set->width, columns, chunk->panels + panel * columns * set->width);
  for (int64_t c = 0; c < columns; c++) {
    chunk->score[panel * columns + c] = c < count ? counting->text_score[first + c] : INFINITY;
    chunk->best[panel * columns + c] = c < count ? (int32_t)set->image_of_text[first + c] : 0;
  }
}

/* One block of images against the packed chunk; column_count [panels * columns] belongs to this thread. */
static void count_block(const struct counting *counting, const struct packed_texts *chunk, int64_t block, float *images,
                        int32_t *column_count) {
  const struct retrieval *set = counting->set;
  const struct score_kernels *kernels = counting->kernels;
  int64_t row = block * kernels->rows, rows = smaller(kernels->rows, counting->image_count - row);
  score_pack(set->images + (counting->first_image + row) * set->width, rows, set->width, kernels->rows, images);
  int32_t best[SCORE_ROWS_MAX];
  struct score_tile tile = {.rows = (int)rows, .first_row = (int32_t)(counting->first_image + row), .row_best = best};
  tile.row_score = counting->row_score + row;
  tile.row_count = counting->row_count + row;
  for (int64_t panel = 0; panel < chunk->panel_count; panel++) {
    int64_t column = panel * kernels->columns;
    for (int64_t r = 0; r < rows; r++)
      best[r] = (int32_t)(counting->row_best[row + r] - chunk->first - column);
    tile.columns = (int)smaller(kernels->columns, chunk->texts - column);
    tile.column_score = chunk->score + column;
    tile.column_best = chunk->best + column;
    tile.column_count = column_count + column;
    kernels->count_tile(images, chunk->panels + column * set->width, set->width, &tile);
  }
}

static void count_chunk(const struct counting *counting, struct packed_texts *chunk) {
  const struct score_kernels *kernels = counting->kernels;
  int64_t columns = chunk->panel_count * kernels->columns,
          blocks = (counting->image_count + kernels->rows - 1) / kernels->rows;
#pragma omp parallel
  {
    float *images =
        memory_allocate((size_t)(kernels->rows * counting->set->width + 1) * sizeof *images, "packed images");
    int32_t *own = memory_allocate((size_t)columns * sizeof *own, "column counts");
#pragma omp for schedule(static)
    for (int64_t panel = 0; panel < chunk->panel_count; panel++)
      pack_panel(counting, chunk, panel);
#pragma omp for schedule(dynamic, 4)
    for (int64_t block = 0; block < blocks; block++)
      count_block(counting, chunk, block, images, own);
#pragma omp critical
    for (int64_t c = 0; c < chunk->texts; c++)
      counting->column_count[chunk->first - counting->first_text + c] += own[c];
    memory_release(own);
    memory_release(images);
  }
}

static void count_all(const struct counting *counting) {
  int64_t width = counting->set->width, columns = counting->kernels->columns,
          end = counting->first_text + counting->text_count;
  int64_t panels = 1 + CHUNK_BYTES / (columns * (width + 1) * (int64_t)sizeof(float));
  struct packed_texts chunk = {
      .panels = memory_allocate((size_t)(panels * columns * width + 1) * sizeof(float), "packed texts")};
  chunk.score = memory_allocate((size_t)(panels * columns) * sizeof *chunk.score, "text scores");
  chunk.best = memory_allocate((size_t)(panels * columns) * sizeof *chunk.best, "text images");
  for (chunk.first = counting->first_text; chunk.first < end; chunk.first += chunk.texts) {
    chunk.texts = smaller(panels * columns, end - chunk.first);
    chunk.panel_count = (chunk.texts + columns - 1) / columns;
    count_chunk(counting, &chunk);
    if (counting->listener)
      counting->listener->progress(counting->listener->context, chunk.first + chunk.texts - counting->first_text,
                                   counting->text_count);
  }
  memory_release(chunk.best);
  memory_release(chunk.score);
  memory_release(chunk.panels);
}

/* text_counts [counting->text_count] and image_ranks [counting->image_count]; either may be NULL. A score that is not a
 * number counts itself, hence the last rank as a bound. */
static void rank_range(struct counting *counting, int64_t *text_counts, int64_t *image_ranks) {
  const struct retrieval *set = counting->set;
  counting->kernels = score_kernels_best();
  counting->text_score = memory_allocate((size_t)(set->text_count + 1) * sizeof *counting->text_score, "text scores");
  counting->row_score =
      memory_allocate((size_t)(counting->image_count + 1) * sizeof *counting->row_score, "image scores");
  counting->row_best = memory_allocate((size_t)(counting->image_count + 1) * sizeof *counting->row_best, "best texts");
  counting->row_count =
      memory_allocate((size_t)(counting->image_count + 1) * sizeof *counting->row_count, "image counts");
  counting->column_count =
      memory_allocate((size_t)(counting->text_count + 1) * sizeof *counting->column_count, "text counts");
  score_own_images(counting);
  find_best_texts(counting);
  count_all(counting);
  for (int64_t j = 0; text_counts && j < counting->text_count; j++)
    text_counts[j] = smaller(counting->column_count[j], set->image_count - 1);
  for (int64_t i = 0; image_ranks && i < counting->image_count; i++)
    image_ranks[i] = counting->row_best[i] < 0 ? -1 : smaller(counting->row_count[i], set->text_count - 1);
  memory_release(counting->column_count);
  memory_release(counting->row_count);
  memory_release(counting->row_best);
  memory_release(counting->row_score);
  memory_release(counting->text_score);
}

void metric_text_to_image_ranks(const struct retrieval *set, int64_t first, int64_t count, int64_t *ranks) {
  rank_range(&(struct counting){.set = set, .image_count = set->image_count, .first_text = first, .text_count = count},
             ranks, NULL);
}

void metric_image_to_text_ranks(const struct retrieval *set, int64_t first, int64_t count, int64_t *ranks) {
  rank_range(&(struct counting){.set = set, .first_image = first, .image_count = count, .text_count = set->text_count},
             NULL, ranks);
}

void metric_ranks(const struct retrieval *set, int64_t *text_ranks, int64_t *image_ranks) {
  rank_range(&(struct counting){.set = set, .image_count = set->image_count, .text_count = set->text_count}, text_ranks,
             image_ranks);
}

void metric_rank_share(const struct retrieval *set, int64_t first, int64_t count,
                       const struct metric_listener *listener, int64_t *text_counts, int64_t *image_ranks) {
  rank_range(
      &(struct counting){
          .set = set, .first_image = first, .image_count = count, .text_count = set->text_count, .listener = listener},
      text_counts, image_ranks);
}
