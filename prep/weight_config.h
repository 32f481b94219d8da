/* The configuration of imported weights: what their shapes say, completed by a configuration that was named or lies
 * beside them, and by what the user says. Nothing is guessed: what only a configuration can say is asked for, and
 * sources that contradict one another are refused. */
#ifndef MEMCLIP_PREP_WEIGHT_CONFIG_H
#define MEMCLIP_PREP_WEIGHT_CONFIG_H
#include "model/config.h"
#include "weight_names.h"

struct config_request {
  const char *config;     /* NULL, a built-in name, or a JSON file (open_clip's or Hugging Face's form) */
  const char *activation; /* NULL, "gelu" or "quickgelu" */
  int knn;                /* 0: the configuration says it */
};
/* `report` gets a line for each decision that shapes did not make alone. */
enum status weight_config_choose(const struct tensor_file *file, const struct weight_list *list,
                                 const struct config_request *request, struct clip_config *config, struct text *report);
/* Hugging Face's config.json of a CLIPModel. */
enum status weight_config_parse_hugging_face(const char *json, const char *source, struct clip_config *config);
/* transformers' description of the pictures (size, resampling, mean, standard deviation) into the configuration; what
 * cannot be said there is refused. */
enum status weight_config_read_preprocessor(const char *path, struct clip_config *config, struct text *report);
#endif
