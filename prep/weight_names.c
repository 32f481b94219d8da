#include "weight_names.h"
#include "base/memory.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { RULES_AT_MOST = 8 }; /* prefixes upon prefixes */

/* '#' stands for a number, '~' for the rest of the name. The first rule that fits is applied, until none fits. */
static const struct {
  const char *from, *to;
  enum weight_change change;
  bool hugging_face;
  const char *reason;
} rules[] = {
    /* wrappers: DistributedDataParallel, torch.compile, the split layout of CustomTextCLIP */
    {"module.~", "~", WEIGHT_SAME, false, NULL},
    {"_orig_mod.~", "~", WEIGHT_SAME, false, NULL},
    /* towers that are not ours */
    {"visual.trunk.~", NULL, WEIGHT_FOREIGN, false, "a timm vision tower"},
    {"visual.attnpool.~", NULL, WEIGHT_FOREIGN, false, "a ResNet"},
    {"visual.layer#.~", NULL, WEIGHT_FOREIGN, false, "a ResNet"},
    {"visual.attn_pool.~", NULL, WEIGHT_FOREIGN, false, "an attentional pooler (CoCa)"},
    {"text_decoder.~", NULL, WEIGHT_FOREIGN, false, "CoCa's text decoder"},
    {"text.transformer.embeddings.~", NULL, WEIGHT_FOREIGN, false, "a Hugging Face text tower"},
    {"text.transformer.encoder.~", NULL, WEIGHT_FOREIGN, false, "a Hugging Face text tower"},
    {"text.cls_emb", NULL, WEIGHT_FOREIGN, false, "a text tower with a class token (CoCa)"},
    {"text.proj.~", NULL, WEIGHT_FOREIGN, false, "a Hugging Face text tower"},
    {"logit_bias", NULL, WEIGHT_FOREIGN, false, "SigLIP training"},
    {"text_projection.bias", NULL, WEIGHT_FOREIGN, false, "a text projection with a bias (proj_bias)"},
    {"text.text_projection.bias", NULL, WEIGHT_FOREIGN, false, "a text projection with a bias (proj_bias)"},
    /* no weights */
    {"input_resolution", NULL, WEIGHT_PASSED_OVER, false, "a size of OpenAI's archives"},
    {"context_length", NULL, WEIGHT_PASSED_OVER, false, "a size of OpenAI's archives"},
    {"vocab_size", NULL, WEIGHT_PASSED_OVER, false, "a size of OpenAI's archives"},
    {"attn_mask", NULL, WEIGHT_PASSED_OVER, false, "the causal mask"},
    {"text.attn_mask", NULL, WEIGHT_PASSED_OVER, false, "the causal mask"},
    {"transformer.resblocks.#.attn_mask", NULL, WEIGHT_PASSED_OVER, false, "the causal mask"},
    {"text_model.embeddings.position_ids", NULL, WEIGHT_PASSED_OVER, true, "position numbers"},
    {"vision_model.embeddings.position_ids", NULL, WEIGHT_PASSED_OVER, true, "position numbers"},
    /* Linear layers that we keep as plain matrices */
    {"text_projection.weight", "text_projection", WEIGHT_TRANSPOSED, true, NULL},
    {"text.text_projection.weight", "text_projection", WEIGHT_TRANSPOSED, false, NULL},
    {"visual_projection.weight", "visual.proj", WEIGHT_TRANSPOSED, true, NULL},
    /* Hugging Face's CLIPModel */
    {"text_model.embeddings.token_embedding.weight", "token_embedding.weight", WEIGHT_SAME, true, NULL},
    {"text_model.embeddings.position_embedding.weight", "positional_embedding", WEIGHT_SAME, true, NULL},
    {"text_model.final_layer_norm.~", "ln_final.~", WEIGHT_SAME, true, NULL},
    {"text_model.encoder.layers.#.~", "transformer.resblocks.#.~", WEIGHT_SAME, true, NULL},
    {"vision_model.embeddings.class_embedding", "visual.class_embedding", WEIGHT_SAME, true, NULL},
    {"vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight", WEIGHT_SAME, true, NULL},
    {"vision_model.embeddings.position_embedding.weight", "visual.positional_embedding", WEIGHT_SAME, true, NULL},
    {"vision_model.pre_layrnorm.~", "visual.ln_pre.~", WEIGHT_SAME, true, NULL}, /* sic */
    {"vision_model.post_layernorm.~", "visual.ln_post.~", WEIGHT_SAME, true, NULL},
    {"vision_model.encoder.layers.#.~", "visual.transformer.resblocks.#.~", WEIGHT_SAME, true, NULL},
    {"transformer.resblocks.#.layer_norm1.~", "transformer.resblocks.#.ln_1.~", WEIGHT_SAME, true, NULL},
    {"transformer.resblocks.#.layer_norm2.~", "transformer.resblocks.#.ln_2.~", WEIGHT_SAME, true, NULL},
    {"transformer.resblocks.#.mlp.fc1.~", "transformer.resblocks.#.mlp.c_fc.~", WEIGHT_SAME, true, NULL},
    {"transformer.resblocks.#.mlp.fc2.~", "transformer.resblocks.#.mlp.c_proj.~", WEIGHT_SAME, true, NULL},
    {"transformer.resblocks.#.self_attn.out_proj.~", "transformer.resblocks.#.attn.out_proj.~", WEIGHT_SAME, true,
     NULL},
    {"transformer.resblocks.#.self_attn.q_proj.~", "transformer.resblocks.#.attn.in_proj_~", WEIGHT_QUERY, true, NULL},
    {"transformer.resblocks.#.self_attn.k_proj.~", "transformer.resblocks.#.attn.in_proj_~", WEIGHT_KEY, true, NULL},
    {"transformer.resblocks.#.self_attn.v_proj.~", "transformer.resblocks.#.attn.in_proj_~", WEIGHT_VALUE, true, NULL},
    {"visual.transformer.resblocks.#.layer_norm1.~", "visual.transformer.resblocks.#.ln_1.~", WEIGHT_SAME, true, NULL},
    {"visual.transformer.resblocks.#.layer_norm2.~", "visual.transformer.resblocks.#.ln_2.~", WEIGHT_SAME, true, NULL},
    {"visual.transformer.resblocks.#.mlp.fc1.~", "visual.transformer.resblocks.#.mlp.c_fc.~", WEIGHT_SAME, true, NULL},
    {"visual.transformer.resblocks.#.mlp.fc2.~", "visual.transformer.resblocks.#.mlp.c_proj.~", WEIGHT_SAME, true,
     NULL},
    {"visual.transformer.resblocks.#.self_attn.out_proj.~", "visual.transformer.resblocks.#.attn.out_proj.~",
     WEIGHT_SAME, true, NULL},
    {"visual.transformer.resblocks.#.self_attn.q_proj.~", "visual.transformer.resblocks.#.attn.in_proj_~", WEIGHT_QUERY,
     true, NULL},
    {"visual.transformer.resblocks.#.self_attn.k_proj.~", "visual.transformer.resblocks.#.attn.in_proj_~", WEIGHT_KEY,
     true, NULL},
    {"visual.transformer.resblocks.#.self_attn.v_proj.~", "visual.transformer.resblocks.#.attn.in_proj_~", WEIGHT_VALUE,
     true, NULL},
    /* the split layout, after the rules for what has no place in the classic one */
    {"text.~", "~", WEIGHT_SAME, false, NULL},
};
enum { RULES = sizeof rules / sizeof *rules };

/* What '#' and '~' stood for. */
struct match {
  const char *number, *rest;
  int number_length;
};

static bool fits(const char *pattern, const char *name, struct match *match) {
  for (; *pattern; pattern++) {
    if (*pattern == '~') {
      match->rest = name;
      return *name != '\0';
    }
    if (*pattern == '#') {
      match->number = name;
      while (isdigit((unsigned char)*name))
        name++;
      match->number_length = (int)(name - match->number);
      if (match->number_length == 0)
        return false;
    } else if (*name++ != *pattern) {
      return false;
    }
  }
  return *name == '\0';
}

static char *substitute(const char *to, const struct match *match) {
  struct text text = {0};
  for (; *to; to++) {
    if (*to == '#')
      text_append(&text, match->number, (size_t)match->number_length);
    else if (*to == '~')
      text_append_string(&text, match->rest);
    else
      text_append(&text, to, 1);
  }
  char *name = memory_copy_string(text.data ? text.data : "", "weight name");
  text_release(&text);
  return name;
}

/* False when no rule fits. */
static bool apply_rule(struct weight_name *name) {
  for (int i = 0; i < RULES; i++) {
    struct match match = {0};
    if (!fits(rules[i].from, name->name, &match))
      continue;
    if (rules[i].change != WEIGHT_SAME)
      name->change = rules[i].change;
    name->hugging_face |= rules[i].hugging_face;
    name->reason = rules[i].reason;
    if (!rules[i].to)
      return false;
    char *next = substitute(rules[i].to, &match);
    memory_release(name->name);
    name->name = next;
    return true;
  }
  return false;
}

void weight_name_resolve(const char *source, struct weight_name *name) {
  *name = (struct weight_name){.name = memory_copy_string(source, "weight name")};
  for (int i = 0; i < RULES_AT_MOST && apply_rule(name); i++) {
  }
}

/* ---- the list */

static int part_of(enum weight_change change) {
  return change == WEIGHT_KEY ? 1 : change == WEIGHT_VALUE ? 2 : 0;
}

static bool is_part(enum weight_change change) {
  return change == WEIGHT_QUERY || change == WEIGHT_KEY || change == WEIGHT_VALUE;
}

static int compare(const void *a, const void *b) {
  const struct weight *x = a, *y = b;
  const int order = strcmp(x->name, y->name);
  return order != 0 ? order : part_of(x->change) - part_of(y->change);
}

static enum status set_shape(struct weight *weight) {
  const struct tensor_view *view = weight->parts[0];
  weight->axes = view->axes;
  weight->elements = view->elements;
  memcpy(weight->shape, view->shape, sizeof weight->shape);
  if (weight->change == WEIGHT_TRANSPOSED) {
    if (view->axes != 2)
      return error_set(STATUS_INPUT, "%s is not a matrix", view->name);
    weight->shape[0] = view->shape[1];
    weight->shape[1] = view->shape[0];
  }
  return STATUS_OK;
}

/* Query, key and value follow one another in the sorted list; the first takes the others in. */
static enum status join_parts(struct weight *items, int64_t left) {
  static const char *const words[WEIGHT_PARTS] = {"q_proj", "k_proj", "v_proj"};
  for (int i = 0; i < WEIGHT_PARTS; i++) {
    const struct weight *part = &items[i];
    if (i >= left || strcmp(part->name, items[0].name) != 0 || !is_part(part->change) || part_of(part->change) != i)
      return error_set(STATUS_INPUT,
                       "%s cannot be put together: there is not one each of q_proj, k_proj and v_proj "
                       "(%s is wrong)",
                       items[0].name, words[i]);
    const struct tensor_view *view = part->parts[0];
    if (view->axes < 1)
      return error_set(STATUS_INPUT, "%s is a single number", view->name);
    if (view->axes != items[0].axes || view->elements != items[0].parts[0]->elements ||
        view->dtype != items[0].parts[0]->dtype || memcmp(view->shape, items[0].parts[0]->shape, sizeof view->shape))
      return error_set(STATUS_INPUT, "%s and %s differ in shape or type", view->name, items[0].parts[0]->name);
    items[0].parts[i] = view;
  }
  items[0].shape[0] *= WEIGHT_PARTS;
  items[0].elements *= WEIGHT_PARTS;
  for (int i = 1; i < WEIGHT_PARTS; i++)
    memory_release(items[i].name);
  return STATUS_OK;
}

static enum status join_list(struct weight_list *list) {
  int64_t kept = 0, at = 0;
  enum status status = STATUS_OK;
  while (at < list->count && status == STATUS_OK) {
    struct weight *weight = &list->items[at];
    const bool part = is_part(weight->change);
    if (part)
      status = join_parts(weight, list->count - at);
    if (status == STATUS_OK && kept > 0 && strcmp(list->items[kept - 1].name, weight->name) == 0)
      status = error_set(STATUS_INPUT, "both %s and %s are %s", list->items[kept - 1].parts[0]->name,
                         weight->parts[0]->name, weight->name);
    if (status != STATUS_OK)
      break;
    list->items[kept++] = *weight;
    at += part ? WEIGHT_PARTS : 1;
  }
  /* what was not looked at is kept, so that it is released */
  for (; at < list->count; at++)
    list->items[kept++] = list->items[at];
  list->count = kept;
  return status;
}

static enum status add_all(const struct tensor_file *file, struct weight_list *list) {
  for (int64_t i = 0; i < file->count; i++) {
    struct weight_name name;
    weight_name_resolve(file->views[i].name, &name);
    list->items[list->count] =
        (struct weight){.name = name.name, .change = name.change, .reason = name.reason, .parts = {&file->views[i]}};
    list->hugging_face |= name.hugging_face;
    TRY(set_shape(&list->items[list->count++]));
    if (name.change == WEIGHT_FOREIGN)
      return error_set(STATUS_INPUT,
                       "%s belongs to %s, which is another architecture: only open_clip's native vision and text "
                       "transformers are supported",
                       file->views[i].name, name.reason);
  }
  return STATUS_OK;
}

enum status weight_list_make(const struct tensor_file *file, struct weight_list *list) {
  *list = (struct weight_list){.items = memory_allocate((size_t)file->count * sizeof *list->items, "weight list")};
  enum status status = add_all(file, list);
  qsort(list->items, (size_t)list->count, sizeof *list->items, compare);
  if (status == STATUS_OK)
    status = join_list(list);
  if (status == STATUS_OK)
    return STATUS_OK;
  error_context(status, "%s", file->path);
  weight_list_release(list);
  return status;
}

void weight_list_release(struct weight_list *list) {
  for (int64_t i = 0; i < list->count; i++)
    memory_release(list->items[i].name);
  memory_release(list->items);
  *list = (struct weight_list){0};
}

struct weight *weight_find(const struct weight_list *list, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *name = text_format_list(format, arguments);
  va_end(arguments);
  const struct weight wanted = {.name = name};
  struct weight *found = NULL;
  int64_t low = 0, high = list->count;
  while (low < high && !found) {
    const int64_t middle = low + (high - low) / 2;
    const int order = strcmp(wanted.name, list->items[middle].name);
    if (order == 0)
      found = &list->items[middle];
    else if (order < 0)
      high = middle;
    else
      low = middle + 1;
  }
  memory_release(name);
  return found;
}

/* ---- reading */

enum dtype weight_dtype(const struct weight *weight) {
  return weight->parts[0]->dtype;
}

enum status weight_read(const struct weight *weight, enum dtype dtype, void *data) {
  const int parts = weight->parts[1] ? WEIGHT_PARTS : 1;
  const size_t bytes = (size_t)(weight->elements / parts) * dtype_size(dtype);
  for (int i = 0; i < parts; i++) {
    struct tensor_view view = *weight->parts[i];
    if (weight->change == WEIGHT_TRANSPOSED) { /* the strides change places */
      for (int a = 0; a < 2; a++) {
        view.shape[a] = weight->parts[i]->shape[1 - a];
        view.stride[a] = weight->parts[i]->stride[1 - a];
      }
      view.contiguous = false;
    }
    TRY(tensor_view_read(&view, dtype, (char *)data + (size_t)i * bytes));
  }
  return STATUS_OK;
}

enum status weight_in_place(const struct weight *weight, const void **data) {
  const struct tensor_view *view = weight->parts[0];
  const bool unchanged = weight->change == WEIGHT_SAME && view->contiguous;
  *data = unchanged ? view->data : NULL;
  return unchanged ? tensor_view_check(view) : STATUS_OK;
}
