/* memclip-export: our weights and checkpoints for open_clip and the thesis's code. */
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "config.h"
#include "transfer_progress.h"
#include "weight_export.h"
#include <argp.h>
#include <stdio.h>
#include <string.h>

const char *argp_program_version = "memclip-export " PACKAGE_VERSION;

static const struct argp_option option_table[] = {
    {"out", 'o', "FILE", 0, "FILE.safetensors, or FILE.pt (.pth, .bin) as torch.save writes it", 0},
    {"dtype", 'd', "TYPE", 0, "fp32, fp16 or bf16 for every tensor (default: as each is stored)", 0},
    {0},
};

static void set_dtype(struct export_request *request, const char *argument, struct argp_state *state) {
  static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    if (strcmp(argument, dtype_name(types[i])) != 0)
      continue;
    request->convert = true;
    request->dtype = types[i];
    return;
  }
  argp_error(state, "--dtype: '%s' is none of fp32, fp16, bf16", argument);
}

static void set_out(struct export_request *request, char *argument, struct argp_state *state) {
  static const char *const suffixes[] = {".safetensors", ".pt", ".pth", ".bin"};
  for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
    if (text_ends_with(argument, suffixes[i]))
      request->out = argument;
  if (!request->out)
    argp_error(state, "--out: '%s' ends in none of .safetensors, .pt, .pth, .bin", argument);
}

static error_t parse(int key, char *argument, struct argp_state *state) {
  struct export_request *request = state->input;
  switch (key) {
  case 'o':
    set_out(request, argument, state);
    return 0;
  case 'd':
    set_dtype(request, argument, state);
    return 0;
  case ARGP_KEY_ARG:
    if (request->source)
      argp_error(state, "one file at a time; '%s' is a second one", argument);
    request->source = argument;
    return 0;
  case ARGP_KEY_END:
    if (!request->source || !request->out)
      argp_error(state, "name the weights or checkpoint and, with --out, the file to write");
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

int main(int argument_count, char **arguments) {
  static const struct argp argp = {
      option_table,
      parse,
      "WEIGHTS.h5",
      "Writes the weights of WEIGHTS.h5 or of any checkpoint as a file that open_clip loads: create_model(NAME, "
      "pretrained=FILE), or the folder through the open_clip_config.json that is written beside it. A memory student "
      "gets the thesis's names, its shared table under every layer, and as .pt the form of the thesis's checkpoints.",
      NULL,
      NULL,
      NULL};
  argp_err_exit_status = STATUS_USAGE;
  struct export_request request = {0};
  struct export_summary summary = {0};
  argp_parse(&argp, argument_count, arguments, 0, NULL, &request);
  request.progress = transfer_progress();
  const double start = clock_seconds();
  const enum status status = weight_export(&request, &summary);
  if (status == STATUS_OK)
    printf("%s: %d tensors, %.3f M parameters, %.3f GB in %.1f s\n%s\n", request.out, summary.tensors,
           1e-6 * (double)summary.parameters, 1e-9 * (double)summary.bytes, clock_seconds() - start,
           summary.config_path);
  else
    fprintf(stderr, "memclip-export: %s\n", error_message());
  memory_release(summary.config_path);
  return (int)status;
}
