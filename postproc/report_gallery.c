/* Gallery: queries and what was retrieved for them, hits and misses. */
#include "base/memory.h"
#include "base/random.h"
#include "report.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 5 };

static float score(const struct features *features, int64_t image, int64_t text) {
  const float *a = features->images + image * features->set.width, *b = features->texts + text * features->set.width;
  float sum = 0;
  for (int64_t e = 0; e < features->set.width; e++)
    sum += a[e] * b[e];
  return sum;
}

struct scored {
  int64_t index;
  float score;
};

/* The first SHOWN of `count` candidates, best first, equal scores in order of their index; returns how many. */
static int find_best(const struct features *features, bool of_text, int64_t query, struct scored best[SHOWN]) {
  int64_t count = of_text ? features->set.image_count : features->set.text_count;
  int kept = 0;
  for (int64_t i = 0; i < count; i++) {
    struct scored new = {i, of_text ? score(features, i, query) : score(features, query, i)};
    int place = kept;
    while (place > 0 && new.score > best[place - 1].score)
      place--;
    if (place == SHOWN)
      continue;
    kept += kept < SHOWN;
    memmove(best + place + 1, best + place, (size_t)(kept - 1 - place) * sizeof *best);
    best[place] = new;
  }
  return kept;
}

static const char *caption_of(const struct features *features, int64_t text) {
  return features->captions ? features->captions[text] : "(the features file holds no captions)";
}

static const char *mime_type(const struct text *bytes) {
  return bytes->length > 3 && memcmp(bytes->data + 1, "PNG", 3) == 0 ? "image/png" : "image/jpeg";
}

/* The picture, or a tile with its key where there are no shards. */
static enum status append_picture(const struct report *report, const struct features *features, int64_t image,
                                  const char *alt, struct text *page) {
  struct text bytes = {0};
  char number[32];
  snprintf(number, sizeof number, "#%" PRId64, image);
  const char *key = features->keys ? features->keys[image] : number;
  if (!report->pictures || !features->keys) {
    text_append_string(page, "<span class=\"key\">");
    report_escape(page, key);
    text_append_string(page, "</span>");
    return STATUS_OK;
  }
  enum status status = pictures_read(report->pictures, key, &bytes);
  if (status == STATUS_OK) {
    text_append_format(page, "<img loading=\"lazy\" src=\"data:%s;base64,", mime_type(&bytes));
    report_base64(page, bytes.data, bytes.length);
    text_append_string(page, "\" alt=\"");
    report_escape(page, alt);
    text_append_string(page, "\">");
  }
  text_release(&bytes);
  return status;
}

static const char *caption_of_image(const struct features *features, int64_t image) {
  for (int64_t j = 0; j < features->set.text_count; j++)
    if (features->image_of_text[j] == image)
      return caption_of(features, j);
  return "";
}

static enum status append_found_picture(const struct report *report, const struct features *features, int64_t image,
                                        const char *note, bool hit, struct text *page) {
  char *alt =
      text_format("%s image, described as: %s", hit ? "the right" : "another", caption_of_image(features, image));
  text_append_string(page, hit ? "<li class=\"hit\">" : "<li>");
  enum status status = append_picture(report, features, image, alt, page);
  text_append_format(page, "%s%s</li>\n", hit ? "✓ " : "", note);
  memory_release(alt);
  return status;
}

static void append_verdict(struct text *page, double rank) {
  if (rank == 1)
    text_append_string(page, "<span class=\"verdict yes\">✓ first</span>");
  else
    text_append_format(page, "<span class=\"verdict no\">✗ the right one is at rank %.0f</span>", rank);
}

static enum status append_text_query(const struct report *report, const struct features *features, int64_t text,
                                     double rank, struct text *page) {
  struct scored best[SHOWN];
  int count = find_best(features, true, text, best);
  enum status status = STATUS_OK;
  char note[48];
  text_append_string(page, "<div class=\"query\"><p>“");
  report_escape(page, caption_of(features, text));
  text_append_string(page, "”<br>");
  append_verdict(page, rank);
  text_append_string(page, "</p>\n<ul class=\"found\">\n");
  for (int i = 0; status == STATUS_OK && i < count; i++) {
    snprintf(note, sizeof note, "%d · %.3f", i + 1, (double)best[i].score);
    status = append_found_picture(report, features, best[i].index, note, best[i].index == features->image_of_text[text],
                                  page);
  }
  if (status == STATUS_OK && rank > SHOWN) {
    snprintf(note, sizeof note, "%.0f · %.3f", rank, (double)score(features, features->image_of_text[text], text));
    status = append_found_picture(report, features, features->image_of_text[text], note, true, page);
  }
  text_append_string(page, "</ul></div>\n");
  return status;
}

static enum status append_image_query(const struct report *report, const struct features *features, int64_t image,
                                      double rank, struct text *page) {
  struct scored best[SHOWN];
  int count = find_best(features, false, image, best);
  char *alt = text_format("an image, described as: %s", caption_of_image(features, image));
  text_append_string(page, "<div class=\"query asked\"><figure>");
  enum status status = append_picture(report, features, image, alt, page);
  text_append_string(page, "<figcaption>");
  append_verdict(page, rank);
  text_append_string(page, "</figcaption></figure>\n<ol>\n");
  for (int i = 0; i < count; i++) {
    bool hit = features->image_of_text[best[i].index] == image;
    text_append_format(page, "<li%s>%s", hit ? " class=\"hit\"" : "", hit ? "✓ " : "");
    report_escape(page, caption_of(features, best[i].index));
    text_append_format(page, " <span class=\"pale\">%.3f</span></li>\n", (double)best[i].score);
  }
  text_append_string(page, "</ol></div>\n");
  memory_release(alt);
  return status;
}

/* Up to `wanted` queries that were right or wrong, drawn the same way every time. A direction's mean rank keeps each
 * query's rank. */
static enum status append_queries(const struct report *report, const struct report_result *result, bool of_text,
                                  bool right, struct text *page) {
  const struct measure *ranks =
      measure_find(&result->measures, of_text ? "text_to_image_mean_rank" : "image_to_text_mean_rank");
  const struct random_key key = {.seed = 1, .use = RANDOM_BOOTSTRAP, .layer = 1};
  int shown = 0;
  for (int64_t i = 0; i < ranks->count && shown < report->queries; i++) {
    int64_t query = (int64_t)random_permute(&key, (uint64_t)i, (uint64_t)ranks->count);
    if ((ranks->values[query] == 1) != right)
      continue;
    shown++;
    if (of_text)
      TRY(append_text_query(report, &result->features, query, ranks->values[query], page));
    else
      TRY(append_image_query(report, &result->features, ranks->image[query], ranks->values[query], page));
  }
  return STATUS_OK;
}

enum status report_gallery(const struct report *report, struct text *page) {
  if (report->queries == 0 || report->result_count == 0)
    return STATUS_OK;
  const struct report_result *result = report_main_result(report);
  text_append_string(page, "<h2>What was retrieved</h2>\n<p class=\"note\">By ");
  report_escape(page, result->features.label);
  text_append_format(page,
                     ", drawn at random: first queries that were answered rightly, then ones that were not. The best "
                     "%d of all candidates, with their cosine scores; the right one is marked ✓.</p>\n",
                     SHOWN);
  text_append_string(page, "<h3>Images for a text</h3>\n");
  TRY(append_queries(report, result, true, true, page));
  TRY(append_queries(report, result, true, false, page));
  text_append_string(page, "<h3>Texts for an image</h3>\n");
  TRY(append_queries(report, result, false, true, page));
  return append_queries(report, result, false, false, page);
}
