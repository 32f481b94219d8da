/* memclip INPUT.nml: the command line, MPI's start and stop, and the choice of the stage. */
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "config.h"
#include "input/keys.h"
#include "report/report.h"
#include "stage/stage.h"
#include "train/run.h"
#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { ASSIGNMENTS_MAX = 256, KEY_SET = 's', KEY_CHECK = 'c', KEY_DESCRIBE = 'd', KEY_REFERENCE = 'r' };

struct command {
  const char *input;
  const char *assignments[ASSIGNMENTS_MAX];
  int assignment_count;
  bool check, describe, reference;
  const char *what;
};

const char *argp_program_version = "memclip " PACKAGE_VERSION;
static const struct argp_option options[] = {
    {"set", KEY_SET, "GROUP.KEY=VALUE", 0, "Set a key of the input; may be given several times", 0},
    {"check", KEY_CHECK, NULL, 0, "Do everything that comes before the first step, print the plan, stop", 0},
    {"describe", KEY_DESCRIBE, "GROUP[.KEY]", OPTION_ARG_OPTIONAL,
     "Describe the keys of the input: all, a group, or one", 0},
    {"reference", KEY_REFERENCE, NULL, 0, "Print an input file with every key, its default and its meaning", 0},
    {0}};

static error_t parse(int key, char *argument, struct argp_state *state) {
  struct command *command = state->input;
  switch (key) {
  case KEY_SET:
    if (command->assignment_count == ASSIGNMENTS_MAX)
      argp_error(state, "more than %d --set options", ASSIGNMENTS_MAX);
    command->assignments[command->assignment_count++] = argument;
    return 0;
  case KEY_CHECK:
    command->check = true;
    return 0;
  case KEY_DESCRIBE:
    command->describe = true;
    command->what = argument;
    return 0;
  case KEY_REFERENCE:
    command->reference = true;
    return 0;
  case ARGP_KEY_ARG:
    if (command->describe && !command->what && !command->input) {
      command->what = argument; /* "--describe optim" as well as "--describe=optim" */
      return 0;
    }
    if (command->input)
      argp_error(state, "one input file is expected, '%s' is a second one", argument);
    command->input = argument;
    return 0;
  case ARGP_KEY_END:
    if (!command->input && !command->describe && !command->reference)
      argp_error(state, "an input file is expected");
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp argp = {
    options,
    parse,
    "INPUT.nml",
    "Run the stage that a namelist input file names (pretrain, distill, finetune or eval), alone or under mpirun or "
    "srun, one rank per device.\vExit status: 0 done; 1 the input is wrong; 2 the command line is wrong; 3 writing, "
    "disk, device or a library failed; 75 stopped at a time limit or on SIGUSR1 with a complete checkpoint, start "
    "again; 76 stopped by the user. status.json in the run directory says the same.",
    NULL,
    NULL,
    NULL};

static void warn(const char *message) {
  if (comm_rank() == 0)
    report_warning_text(message);
}

static bool launched_in_parallel(void) {
  const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "SLURM_STEP_ID"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (getenv(names[i]))
      return true;
  return false;
}

static const char *state_of(enum status status) {
  return status == STATUS_OK        ? "done"
         : status == STATUS_REQUEUE ? "requeue"
         : status == STATUS_STOPPED ? "stopped"
                                    : "failed";
}

/* The stage in its run directory. */
static enum status run_stage(const struct stage *stage, struct session *session, struct run *run, const char *path,
                             const struct text *input) {
  enum status status = run_open(run, session->settings, path, input);
  if (status == STATUS_OK) {
    run_report_status(run, "running", STATUS_OK, "");
    status = stage->run(session, false);
  }
  return status;
}

static void finish(enum status status, struct run *run) {
  const bool failed = status == STATUS_INPUT || status == STATUS_SYSTEM || status == STATUS_USAGE;
  if (comm_rank() != 0)
    return;
  report_progress_end();
  if (failed)
    report_message("error: %s", error_message());
  run_report_status(run, state_of(status), status, failed ? error_message() : "");
  report_close();
}

static enum status run_input(const struct command *command) {
  struct settings settings;
  struct text input = {0};
  struct run run = {0};
  struct session session = {.run = &run, .settings = &settings};
  const struct stage *stage = NULL;
  if (comm_rank() == 0) /* to stderr until the run directory is there */
    report_open(NULL, -1, false);
  enum status status =
      comm_agree(input_read(command->input, command->assignments, command->assignment_count, &settings, warn));
  if (status == STATUS_OK)
    status = comm_agree(file_read(command->input, &input));
  if (status == STATUS_OK && !(stage = stage_find(settings.run.stage)))
    status = error_set(STATUS_INPUT, "run.stage = '%s' is not available in this version", settings.run.stage);
  if (status == STATUS_OK) {
    run.settings = &settings;
    status = command->check ? stage->run(&session, true) : run_stage(stage, &session, &run, command->input, &input);
  }
  status = comm_agree(status);
  finish(status, &run);
  session_close(&session);
  run_close(&run);
  text_release(&input);
  settings_release(&settings);
  return status;
}

int main(int argc, char **argv) {
  struct command command = {0};
  argp_err_exit_status = STATUS_USAGE;
  signal(SIGXFSZ, SIG_IGN); /* a file that reaches its size limit is a failed write, told like a full disk */
  argp_parse(&argp, argc, argv, 0, NULL, &command);
  if (command.describe)
    return input_describe(command.what, stdout) == STATUS_OK
               ? STATUS_OK
               : (fprintf(stderr, "memclip: %s\n", error_message()), STATUS_USAGE);
  if (command.reference) {
    input_write_reference(stdout);
    return STATUS_OK;
  }
  signal(SIGPIPE, SIG_IGN); /* who reads the output may go; the log has it all */
  if (!command.check)       /* before MPI starts: a launcher passes signals on to ranks that are still starting */
    run_watch_signals();
  const bool parallel = !command.check || launched_in_parallel();
  enum status status = parallel ? comm_start(&argc, &argv) : STATUS_OK;
  if (status == STATUS_OK)
    status = run_input(&command);
  else
    fprintf(stderr, "memclip: %s\n", error_message());
  if (memory_report_live(false) > 0 && status == STATUS_OK && getenv("MEMCLIP_COUNT_MEMORY"))
    status = memory_report_live(true) > 0 ? STATUS_SYSTEM : STATUS_OK;
  if (parallel)
    comm_stop();
  return (int)status;
}
