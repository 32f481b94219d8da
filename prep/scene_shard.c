#include "scene_shard.h"
#include "scene_caption.h"
#include "scene_encode.h"
#include "scene_paint.h"
#include "base/memory.h"
#include <inttypes.h>
#include <stdio.h>

/* What one sample needs, reused from sample to sample. */
struct workspace {
  cairo_surface_t *picture, *classes;
  struct text bytes, caption, json;
  struct scene_output *output;
};

void scene_key(enum scene_split split, int64_t number, char key[32]) {
  snprintf(key, 32, "%s%08" PRId64, scene_split_names[split], number);
}

static void describe_object(const struct scene_object *object, struct text *out) {
  text_append_format(out, "{\"shape\": \"%s\", \"colour\": \"%s\", \"texture\": \"%s\", \"size\": \"%s\", \"cells\": [",
                     scene_shape_names[object->shape], scene_colour_names[object->colour],
                     scene_texture_names[object->texture], scene_size_names[object->size]);
  for (int c = 0; c < object->copies; c++)
    text_append_format(out, "%s%d", c > 0 ? ", " : "", object->cells[c]);
  text_append_string(out, "]}");
}

/* Names and captions hold neither quotes nor backslashes, so they are JSON as they stand. */
static void describe(const struct scene *scene, const char *key, const char *caption, struct text *out) {
  text_append_format(out,
                     "{\"key\": \"%s\", \"short\": \"%.*s\", \"group\": %" PRId64 ", \"hash\": \"%016" PRIx64
                     "\", \"background\": \"%s\", \"frame\": ",
                     key, (int)scene_short_length(caption), caption, scene->group, scene_hash(scene),
                     scene_background_names[scene->background]);
  if (scene->frame == SCENE_NO_FRAME)
    text_append_string(out, "null");
  else
    text_append_format(out, "\"%s\"", scene_colour_names[scene->frame]);
  text_append_string(out, ", \"sign\": ");
  if (scene->letters > 0) {
    text_append_string(out, "{\"letters\": \"");
    for (int i = 0; i < scene->letters; i++)
      text_append(out, &scene_alphabet[scene->letter[i]], 1);
    text_append_format(out, "\", \"cell\": %d}", scene->sign_cell);
  } else
    text_append_string(out, "null");
  text_append_string(out, ", \"objects\": [");
  for (int i = 0; i < scene->objects; i++) {
    text_append_string(out, i > 0 ? ", " : "");
    describe_object(&scene->object[i], out);
  }
  text_append_string(out, "]");
}

static enum status write_sample(const struct scene_options *options, const struct scene *scene,
                                const struct scene_negative *negatives, int negative_count, struct workspace *work) {
  char key[32];
  scene_key(scene->split, scene->number, key);
  text_clear(&work->json);
  describe(scene, key, work->caption.data, &work->json);
  text_append_string(&work->json, ", \"negatives\": [");
  for (int i = 0; i < negative_count; i++)
    text_append_format(&work->json, "%s{\"kind\": \"%s\", \"wrong\": \"%s\"}", i > 0 ? ", " : "",
                       negative_kind_names[negatives[i].kind], negatives[i].wrong);
  text_append_string(&work->json, "]}\n");

  scene_paint(scene, work->picture);
  text_clear(&work->bytes);
  scene_encode_jpeg(work->picture, options->quality, &work->bytes);
  TRY(scene_output_add(work->output, key, "jpg", &work->bytes));
  TRY(scene_output_add(work->output, key, "txt", &work->caption));
  TRY(scene_output_add(work->output, key, "json", &work->json));
  if (!options->class_maps)
    return STATUS_OK;
  scene_paint_classes(scene, work->classes);
  text_clear(&work->bytes);
  scene_encode_png(work->classes, &work->bytes);
  return scene_output_add(work->output, key, "class.png", &work->bytes);
}

static void count_caption(struct scene_shard *shard, const char *caption) {
  int64_t tokens = scene_count_tokens(caption) + 2;
  shard->tokens += tokens;
  shard->tokens_max = tokens > shard->tokens_max ? tokens : shard->tokens_max;
  shard->over_context += tokens > SCENE_CONTEXT;
}

static void count_negative(struct scene_shard *shard, const struct scene *scene, const char *right,
                           const struct scene_negative *negative) {
  char key[32];
  scene_key(scene->split, scene->number, key);
  shard->negative_counts[negative->kind]++;
  text_append_format(&shard->negatives,
                     "{\"key\": \"%s\", \"kind\": \"%s\", \"token\": %d, \"right\": \"%s\", \"wrong\": \"%s\"}\n", key,
                     negative_kind_names[negative->kind], negative->token, right, negative->wrong);
}

static enum status write_samples(const struct scene_options *options, struct scene_shard *shard,
                                 const struct scene *scenes, const struct scene_negatives *negatives,
                                 struct workspace *work) {
  int next = 0;
  for (int i = 0; i < shard->count; i++) {
    text_clear(&work->caption);
    scene_caption(&scenes[i], &work->caption);
    count_caption(shard, work->caption.data);
    int first = next;
    for (; next < negatives->count && negatives->items[next].scene == i; next++)
      count_negative(shard, &scenes[i], work->caption.data, &negatives->items[next]);
    TRY(write_sample(options, &scenes[i], negatives->items + first, next - first, work));
  }
  return STATUS_OK;
}

enum status scene_shard_write(const struct scene_options *options, struct scene_shard *shard) {
  struct scene *scenes = memory_allocate((size_t)shard->count * sizeof scenes[0], "scenes");
  struct scene_negatives negatives = {0};
  for (int i = 0; i < shard->count; i++)
    scenes[i] = scene_make(options->seed, shard->split, shard->first + i);
  if (shard->split != SPLIT_TRAIN)
    scene_negatives_make(options->seed, scenes, shard->count, &negatives);
  struct workspace work = {.picture = cairo_image_surface_create(CAIRO_FORMAT_RGB24, options->pixels, options->pixels),
                           .classes = cairo_image_surface_create(CAIRO_FORMAT_A8, options->pixels, options->pixels)};
  enum status status = scene_output_open(options->format, options->directory, scene_split_names[shard->split],
                                         shard->index, &work.output);
  if (status == STATUS_OK)
    status = write_samples(options, shard, scenes, &negatives, &work);
  status = scene_output_close(work.output, status);
  cairo_surface_destroy(work.picture);
  cairo_surface_destroy(work.classes);
  text_release(&work.bytes);
  text_release(&work.caption);
  text_release(&work.json);
  scene_negatives_release(&negatives);
  memory_release(scenes);
  return status;
}
