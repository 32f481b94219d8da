/* Hugging Face's preprocessor_config.json: how pictures are made for the weights beside it. */
#include "base/file.h"
#include "base/memory.h"
#include "weight_config.h"
#include <jansson.h>
#include <string.h>

/* A size is a number, {"height", "width"} or {"shortest_edge"}; transformers' older files have the number. 0: none. */
static int read_size(const json_t *size, bool *squash) {
  const json_t *edge = json_object_get(size, "shortest_edge"), *height = json_object_get(size, "height");
  *squash = height != NULL;
  const json_t *number = json_is_object(size) ? (edge ? edge : height) : size;
  const json_int_t value = json_integer_value(number);
  if (height && json_integer_value(json_object_get(size, "width")) != value)
    return 0;
  return value > 0 && value <= 16384 ? (int)value : 0;
}

static bool is_off(const json_t *root, const char *key) {
  return json_is_false(json_object_get(root, key));
}

static enum status read_colors(const json_t *root, const char *key, float plain, float values[3]) {
  const json_t *list = json_object_get(root, key);
  for (size_t i = 0; i < 3; i++) {
    if (is_off(root, "do_normalize"))
      values[i] = plain;
    else if (json_is_number(json_array_get(list, i)))
      values[i] = (float)json_number_value(json_array_get(list, i));
    else if (list)
      return error_set(STATUS_INPUT, "%s is no list of three numbers", key);
  }
  return STATUS_OK;
}

/* CLIP's own: the shorter side to the model's size, the middle cut out; or both sides at once. */
static enum status read_resize(const json_t *root, struct clip_config *config) {
  bool squash = false, square;
  const int size = read_size(json_object_get(root, "size"), &squash),
            crop = read_size(json_object_get(root, "crop_size"), &square);
  const bool crops = !is_off(root, "do_center_crop");
  if (is_off(root, "do_resize") || (!squash && !crops))
    return error_set(STATUS_INPUT, "pictures that keep their size or shape are not made here: do_resize and "
                                   "do_center_crop are needed");
  if (size != config->image_height || (crops && crop && crop != size))
    return error_set(STATUS_INPUT, "pictures of %d resized to %d are not what the model of %d takes",
                     crop ? crop : size, size, config->image_height);
  const json_t *resample = json_object_get(root, "resample"), *scale = json_object_get(root, "rescale_factor");
  if (resample && json_integer_value(resample) != 2 && json_integer_value(resample) != 3)
    return error_set(STATUS_INPUT, "resample %lld is not supported; 2 (bilinear) and 3 (bicubic) are",
                     (long long)json_integer_value(resample));
  if (is_off(root, "do_rescale") ||
      (scale && !(json_number_value(scale) > 0.999 / 255 && json_number_value(scale) < 1.001 / 255)))
    return error_set(STATUS_INPUT, "pixels are not divided by 255, which is not supported");
  config->resize_mode = squash ? "squash" : "shortest";
  config->interpolation = json_integer_value(resample) == 2 ? "bilinear" : "bicubic";
  return STATUS_OK;
}

static enum status read_root(const json_t *root, struct clip_config *config) {
  TRY(read_colors(root, "image_mean", 0, config->image_mean));
  TRY(read_colors(root, "image_std", 1, config->image_std));
  for (int i = 0; i < 3; i++)
    if (!(config->image_std[i] > 0))
      return error_set(STATUS_INPUT, "image_std must be above 0");
  return read_resize(root, config);
}

enum status weight_config_read_preprocessor(const char *path, struct clip_config *config, struct text *report) {
  struct text content = {0};
  json_error_t error;
  enum status status = file_read_at_most(path, CONFIG_BYTES_MAX, &content);
  json_t *root = status == STATUS_OK ? json_loads(content.data, JSON_REJECT_DUPLICATES, &error) : NULL;
  if (status == STATUS_OK)
    status = json_is_object(root) ? read_root(root, config) : error_set(STATUS_INPUT, "not a JSON object");
  if (status == STATUS_OK)
    text_append_format(report, "pictures (%s, %s, mean and standard deviation) from %s\n", config->resize_mode,
                       config->interpolation, path);
  else
    error_context(status, "%s", path);
  json_decref(root);
  text_release(&content);
  return status;
}
