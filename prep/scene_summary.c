#include "scene_summary.h"
#include "scene_caption.h"
#include "scene_paint.h"
#include "base/file.h"
#include "base/memory.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Scenes by the pair (shape, colour) of each object: a picture that a short caption fits shows the caption's main pair.
 */
struct pair_index {
  int64_t start[SHAPE_COUNT * COLOUR_COUNT + 1];
  int64_t *scenes;
};

static int pair_of(const struct scene_object *object) {
  return object->shape * COLOUR_COUNT + object->colour;
}

static void index_pairs(struct pair_index *index, const struct scene *scenes, int64_t count) {
  int64_t next[SHAPE_COUNT * COLOUR_COUNT];
  for (int64_t s = 0; s < count; s++)
    for (int i = 0; i < scenes[s].objects; i++)
      index->start[pair_of(&scenes[s].object[i]) + 1]++;
  for (int pair = 0; pair < SHAPE_COUNT * COLOUR_COUNT; pair++)
    index->start[pair + 1] += index->start[pair];
  memcpy(next, index->start, sizeof next);
  index->scenes =
      memory_allocate((size_t)index->start[SHAPE_COUNT * COLOUR_COUNT] * sizeof index->scenes[0] + 1, "scene pairs");
  for (int64_t s = 0; s < count; s++)
    for (int i = 0; i < scenes[s].objects; i++)
      index->scenes[next[pair_of(&scenes[s].object[i])]++] = s;
}

struct scene_ceiling scene_ceiling_compute(const struct scene *scenes, int64_t count) {
  struct pair_index index = {0};
  struct scene_ceiling ceiling = {0};
  index_pairs(&index, scenes, count);
  int64_t *captions =
      memory_allocate((size_t)count * sizeof captions[0] + 1, "scene captions"); /* true ones, by picture */
  for (int64_t text = 0; text < count; text++) {
    int pair = pair_of(&scenes[text].object[0]);
    int64_t pictures = 0;
    for (int64_t i = index.start[pair]; i < index.start[pair + 1]; i++)
      if (scene_fits_short(&scenes[index.scenes[i]], &scenes[text])) {
        pictures++;
        captions[index.scenes[i]]++;
      }
    ceiling.text_to_image += 1.0 / (double)pictures / (double)count;
  }
  for (int64_t picture = 0; picture < count; picture++)
    ceiling.image_to_text += 1.0 / (double)captions[picture] / (double)count;
  memory_release(captions);
  memory_release(index.scenes);
  return ceiling;
}

struct told {
  char *text; /* short caption */
  int64_t number;
};

static int by_text(const void *a, const void *b) {
  const struct told *x = a, *y = b;
  int order = strcmp(x->text, y->text);
  return order != 0 ? order : (x->number > y->number) - (x->number < y->number);
}

static char *short_caption(const struct scene *scene, struct text *scratch) {
  text_clear(scratch);
  scene_caption(scene, scratch);
  scratch->data[scene_short_length(scratch->data)] = '\0';
  return memory_copy_string(scratch->data, "short caption");
}

static void add_group(struct text *out, enum scene_split split, const struct told *told, int64_t count) {
  char key[32];
  text_append_format(out, "{\"short\": \"%s\", \"keys\": [", told[0].text);
  for (int64_t i = 0; i < count; i++) {
    scene_key(split, told[i].number, key);
    text_append_format(out, "%s\"%s\"", i > 0 ? ", " : "", key);
  }
  text_append_string(out, "]}\n");
}

/* Every short caption that two scenes or more share, with their keys. */
static int64_t list_groups(const struct scene *scenes, int64_t count, struct text *out) {
  struct told *told = memory_allocate((size_t)count * sizeof told[0] + 1, "short captions");
  struct text scratch = {0};
  int64_t groups = 0;
  for (int64_t i = 0; i < count; i++)
    told[i] = (struct told){short_caption(&scenes[i], &scratch), i};
  qsort(told, (size_t)count, sizeof told[0], by_text);
  for (int64_t first = 0, next; first < count; first = next) {
    for (next = first + 1; next < count && strcmp(told[next].text, told[first].text) == 0; next++)
      continue;
    if (next - first < 2)
      continue;
    add_group(out, scenes[0].split, told + first, next - first);
    groups++;
  }
  for (int64_t i = 0; i < count; i++)
    memory_release(told[i].text);
  memory_release(told);
  text_release(&scratch);
  return groups;
}

static enum status write_text(const struct scene_options *options, const char *name, const char *suffix,
                              const struct text *text) {
  char *file = text_format("%s%s", name, suffix), *path = text_join_path(options->directory, file);
  enum status status = file_write_atomic(path, text->length > 0 ? text->data : "", text->length);
  memory_release(path);
  memory_release(file);
  return status;
}

static bool write_lines(FILE *file, const struct scene_options *options, enum scene_split split, int64_t count,
                        bool paths) {
  struct text caption = {0};
  bool written = !paths || fprintf(file, "filepath\ttitle\n") >= 0;
  for (int64_t i = 0; i < count && written; i++) {
    struct scene scene = scene_make(options->seed, split, i);
    char key[32];
    scene_key(split, i, key);
    text_clear(&caption);
    scene_caption(&scene, &caption);
    if (paths)
      written = fprintf(file, "%s/%s/%s.jpg\t", options->directory, scene_split_names[split], key) >= 0;
    written = written && fprintf(file, "%s\n", caption.data) >= 0;
  }
  text_release(&caption);
  return written;
}

/* The captions of a split, one per line, with `paths` as a table of picture and caption. They are made again rather
 * than kept: that costs microseconds and keeping them would fill the memory of a large run. */
static enum status write_list(const struct scene_options *options, const char *name, enum scene_split split,
                              int64_t count, bool paths) {
  char *path = text_join_path(options->directory, name), *temporary = text_format("%s.part", path);
  FILE *file = fopen(temporary, "w");
  bool written = file != NULL && write_lines(file, options, split, count, paths);
  written = file != NULL && fclose(file) == 0 && written;
  enum status status = written ? file_publish(temporary, path)
                               : error_set(STATUS_SYSTEM, "%s: cannot write: %s", temporary, strerror(errno));
  memory_release(temporary);
  memory_release(path);
  return status;
}

static enum status write_csv(const struct scene_options *options, enum scene_split split, int64_t count) {
  if (options->format != FORMAT_CSV)
    return STATUS_OK;
  char *name = text_format("%s.csv", scene_split_names[split]);
  enum status status = write_list(options, name, split, count, true);
  memory_release(name);
  return status;
}

static enum status write_held_out(const struct scene_options *options, enum scene_split split, int64_t count,
                                  struct text *world) {
  struct scene *scenes = memory_allocate((size_t)count * sizeof scenes[0], "scenes");
  struct text groups = {0};
  char *name = text_format("groups-%s", scene_split_names[split]);
  for (int64_t i = 0; i < count; i++)
    scenes[i] = scene_make(options->seed, split, i);
  struct scene_ceiling ceiling = scene_ceiling_compute(scenes, count);
  int64_t group_count = list_groups(scenes, count, &groups);
  enum status status = write_text(options, name, ".jsonl", &groups);
  text_append_format(
      world,
      ", \"groups\": %" PRId64
      ", \"chance_R@1\": %.6f, \"short_ceiling\": {\"text_to_image_R@1\": %.6f, \"image_to_text_R@1\": %.6f}",
      group_count, 1.0 / (double)count, ceiling.text_to_image, ceiling.image_to_text);
  memory_release(name);
  text_release(&groups);
  memory_release(scenes);
  return status;
}

static enum status write_negatives(const struct scene_options *options, enum scene_split split,
                                   const struct scene_shard *shards, int shard_count, struct text *world) {
  struct text lines = {0};
  int64_t counts[NEGATIVE_KINDS] = {0};
  for (int i = 0; i < shard_count; i++) {
    if (shards[i].split != split)
      continue;
    text_append(&lines, shards[i].negatives.data, shards[i].negatives.length);
    for (int kind = 0; kind < NEGATIVE_KINDS; kind++)
      counts[kind] += shards[i].negative_counts[kind];
  }
  char *name = text_format("negatives-%s", scene_split_names[split]);
  enum status status = write_text(options, name, ".jsonl", &lines);
  text_append_string(world, ", \"negatives\": {");
  for (int kind = 0; kind < NEGATIVE_KINDS; kind++)
    text_append_format(world, "%s\"%s\": %" PRId64, kind > 0 ? ", " : "", negative_kind_names[kind], counts[kind]);
  text_append_string(world, "}");
  memory_release(name);
  text_release(&lines);
  return status;
}

static enum status write_split(const struct scene_options *options, enum scene_split split, int64_t samples,
                               const struct scene_shard *shards, int shard_count, struct text *world) {
  int64_t tokens = 0, tokens_max = 0, over_context = 0, split_shards = 0;
  for (int i = 0; i < shard_count; i++) {
    if (shards[i].split != split)
      continue;
    split_shards++;
    tokens += shards[i].tokens;
    tokens_max = shards[i].tokens_max > tokens_max ? shards[i].tokens_max : tokens_max;
    over_context += shards[i].over_context;
  }
  text_append_format(world,
                     "    \"%s\": {\"samples\": %" PRId64 ", \"shards\": %" PRId64
                     ", \"tokens_mean\": %.2f, \"tokens_max\": %" PRId64 ", \"over_context\": %.4f",
                     scene_split_names[split], samples, split_shards, (double)tokens / (double)samples, tokens_max,
                     (double)over_context / (double)samples);
  TRY(write_csv(options, split, samples));
  if (split != SPLIT_TRAIN) {
    TRY(write_held_out(options, split, samples, world));
    TRY(write_negatives(options, split, shards, shard_count, world));
  }
  text_append_string(world, "}");
  return STATUS_OK;
}

static void list_classes(struct text *world) {
  text_append_string(world, "  \"classes\": [\"none\"");
  for (int i = 0; i < BACKGROUND_COUNT; i++)
    text_append_format(world, ", \"%s\"", scene_background_names[i]);
  for (int i = 0; i < SHAPE_COUNT; i++)
    text_append_format(world, ", \"%s\"", scene_shape_names[i]);
  text_append_string(world, ", \"sign\", \"frame\"],\n");
}

static void list_held_out_pairs(struct text *world) {
  text_append_string(world, "  \"held_out_pairs\": [");
  for (int shape = 0; shape < SHAPE_COUNT; shape++)
    for (int colour = 0; colour < COLOUR_COUNT; colour++)
      if (scene_pair_is_held_out(shape, colour))
        text_append_format(world, "%s\"%s %s\"", shape > 0 ? ", " : "", scene_colour_names[colour],
                           scene_shape_names[shape]);
  text_append_string(world, "],\n");
}

enum status scene_summary_write(const struct scene_options *options, const struct scene_counts *counts,
                                const struct scene_shard *shards, int shard_count) {
  struct text world = {0};
  text_append_format(&world, "{\n  \"seed\": %" PRIu64 ", \"pixels\": %d, \"context\": %d,\n", options->seed,
                     options->pixels, SCENE_CONTEXT);
  list_classes(&world);
  list_held_out_pairs(&world);
  text_append_string(&world, "  \"splits\": {\n");
  enum status status = write_list(options, "captions.txt", SPLIT_TRAIN, counts->samples[SPLIT_TRAIN], false);
  bool first = true;
  for (int split = 0; split < SPLIT_COUNT && status == STATUS_OK; split++) {
    if (counts->samples[split] == 0)
      continue;
    text_append_string(&world, first ? "" : ",\n");
    first = false;
    status = write_split(options, (enum scene_split)split, counts->samples[split], shards, shard_count, &world);
  }
  text_append_string(&world, "\n  }\n}\n");
  if (status == STATUS_OK)
    status = write_text(options, "world", ".json", &world);
  text_release(&world);
  return status;
}
