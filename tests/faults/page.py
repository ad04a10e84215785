"""docs/reliability.md: which tests show what, and the figures that `make faults` has reached; written by a program."""

from pathlib import Path
from typing import Any

from faults.load_page import load_section

CALLS = "faults/test_system_calls.py::test_old_or_new_stands_after_a_fault_at_every_call"
HOSTILE = "faults/test_adapters.py::test_a_hostile_corpus_runs_nothing"
MUTATED = "faults/test_adapters.py::test_mutated_folders_load_or_are_refused_and_the_base_stays"
TENSORS = "fusion/test_damage.py::test_wrong_tensors"
BAD_FILES = "cli/test_bad_input.py::test_damaged_data_is_named_before_anything_is_made"

DEMANDS: dict[str, dict[int, tuple[str, tuple[str, ...]]]] = {
    "Training and resuming": {
        1: ("Killed at random moments and resumed, it ends with the bytes of the undisturbed run", (
            "training/test_kill.py::test_killed_again_and_again_the_weights_are_those_of_the_undisturbed_run",
            "experiment/test_interrupted.py::test_killed_at_random_moments")),
        2: ("Killed at every system call of every save: old or new stands", (
            CALLS, "files/test_kill.py::test_old_or_new_stands_after_a_fault_at_every_call")),
        3: ("A full or broken disk, once and for good, at every such call; a disk that is really full", (
            CALLS, "faults/test_system_calls.py::test_a_disk_that_is_really_full_keeps_the_old",
            "files/test_faults.py::test_file_too_large_for_the_system_leaves_the_old",
            "cli/test_bad_input.py::test_a_full_disk_in_training_keeps_what_was_there")),
        4: ("What is renamed was flushed before; its folder is flushed after", (
            "files/test_order.py::test_file_is_flushed_then_renamed_then_its_folder_flushed",
            "files/test_order.py::test_folder_is_flushed_then_renamed_then_its_parent_flushed",
            "translation/test_store.py::test_each_batch_is_flushed_before_the_next")),
        5: ("The newest checkpoint is damaged: the older one goes on; all are: refused, never begun anew", (
            "faults/test_training.py::test_whatever_file_of_the_newest_is_damaged_the_older_goes_on",
            "training/test_resume.py::test_only_damaged_ones_are_refused_never_begun_anew")),
        6: ("A fault during recovery: killed again, or the disk fills up", (
            "faults/test_training.py::test_killed_again_while_it_recovers",
            "faults/test_training.py::test_a_disk_that_fills_up_while_it_recovers",
            "files/test_faults.py::test_folder_is_whole_when_the_next_save_and_the_recovery_end_too")),
        7: ("Signals: the step is saved, the exit code is the signal's, a second one ends at once", (
            "faults/test_training.py::test_a_signal_commits_the_step_and_ends_with_its_own_code",
            "faults/test_training.py::test_a_second_signal_ends_at_once",
            "experiment/test_interrupted.py::test_control_c_in_training_keeps_the_step_and_says_how_to_go_on")),
        8: ("Two processes in one folder: the second is refused; the lock of a killed one is free", (
            "test_locks.py::test_a_second_process_is_told_who_the_first_one_is_and_a_killed_one_is_free",
            "training/test_resume.py::test_two_runs_in_one_folder_are_refused")),
        9: ("Resumed with something changed: refused, field by field", (
            "faults/test_training.py::test_a_checkpoint_of_another_run_is_refused_by_the_field",
            "training/test_resume.py::test_every_difference_is_named")),
        10: ("A loss, gradient or weight that is no number stops before the step and is in no file", (
            "faults/test_training.py::test_a_weight_that_is_no_number_stops_before_the_step_and_is_in_no_file",
            "training/test_resume.py::test_a_loss_that_is_not_a_number_stops_before_the_step",
            "training/test_resume.py::test_a_gradient_that_is_not_finite_stops_too")),
        11: ("Checkpoints go by step, not by the time of files; killed while the oldest is dropped", (
            "faults/test_training.py::test_the_newest_is_so_by_its_step_whatever_the_times_of_files",
            "training/test_resume.py::test_the_newest_two_are_kept", CALLS)),
        12: ("Too little memory is one line that says what to set; the checkpoint is good", (
            "faults/test_training.py::test_too_little_memory_of_the_machine_is_one_line_and_the_checkpoint_is_good",
            "training/test_recipe.py::test_out_of_memory_says_what_to_set")),
        13: ("The same bytes with any hash seed, locale, folder and number of workers", (
            "faults/test_training.py::test_hash_seed_locale_clock_and_folder_change_no_byte",
            "experiment/test_run.py::test_two_workers_give_the_same_bytes",
            "experiment/test_ids.py::test_ids_are_those_of_any_process")),
    },
    "Adapters of strangers": {
        14: ("Weights cut at every byte of the header, and anywhere behind it", (
            "faults/test_adapters.py::test_weights_cut_at_every_byte_of_the_header_and_anywhere_behind",)),
        15: ("One flipped bit anywhere is refused", (
            "faults/test_adapters.py::test_one_flipped_bit_anywhere_is_refused",
            "files/test_open.py::test_every_flipped_bit_is_refused")),
        16: ("Another base is refused, both are named", (
            "fusion/test_damage.py::test_another_base_is_named",
            "fusion/test_damage.py::test_a_base_of_another_size_is_named",
            "cli/test_bad_input.py::test_an_adapter_of_another_base")),
        17: ("Tensors that are missing, unexpected, misshapen or of another type", (TENSORS,)),
        18: ("Tensors outside of the adapter are refused, and the base stays as it was", (
            TENSORS, MUTATED, "outside/test_stranger_peft.py::test_what_load_adapter_would_refuse")),
        19: ("Numbers that are not finite or absurdly large", (TENSORS,)),
        20: ("Pickles are never opened", (HOSTILE, "fusion/test_damage.py::test_pickles_are_never_opened")),
        21: ("Configurations of any kind load or are refused in one line", (
            "fusion/test_damage.py::test_wrong_configurations",
            "fusion/test_damage.py::test_any_value_under_any_key_gives_a_configuration_or_one_line", MUTATED,
            "outside/test_stranger_card.py::test_mutations",
            "outside/test_stranger_card.py::test_text_that_is_not_parsed_or_not_believed")),
        22: ("Keys that name code run nothing, as an audit hook sees", (
            HOSTILE, "fusion/test_damage.py::test_code_named_in_the_configuration_is_not_looked_up")),
        23: ("Names that lead out of the folder are refused", (
            "files/test_open.py::test_names_that_are_no_file_of_the_folder_are_refused",
            "files/test_open.py::test_link_out_of_the_folder_is_refused",
            "outside/test_stranger_folder.py::test_a_folder_that_is_not_what_it_should_be", HOSTILE)),
        24: ("The hub: the commit is recorded; offline and half downloads are one line", (
            "faults/test_hub.py::test_a_name_without_a_revision_is_recorded_by_its_commit",
            "faults/test_hub.py::test_what_is_not_here_or_half_here_is_one_line_offline",
            "tasks/test_hub.py::test_what_cannot_be_fetched_is_one_line")),
        25: ("A newer format is refused, the first one loads; files honour umask", (
            "faults/test_adapters.py::test_an_adapter_of_the_first_format_loads_bit_for_bit",
            "faults/test_adapters.py::test_the_next_format_is_refused_with_both_numbers",
            "files/test_order.py::test_umask_is_honoured_and_left_as_it_was")),
    },
    "Data and translation": {
        26: ("A row that lacks a field, or has one of the wrong kind, is named by file and line; nothing is skipped", (
            "tasks/test_reading.py::test_mistakes_in_rows_are_named", BAD_FILES,
            "faults/test_data.py::test_damaged_rows_are_read_or_refused_by_file_and_line")),
        27: ("Labels of any wrong kind, with the allowed ones, before a model is loaded", (
            "tasks/test_classification.py::test_anything_else_is_refused_with_place_value_and_allowed_set",
            "outside/test_label_kinds.py::test_numbers_and_truth_values")),
        28: ("Bytes that are no text are named by line and offset", (
            "tasks/test_files.py::test_damage_is_named_in_one_line", BAD_FILES)),
        29: ("Files with nothing in them say so by name", (
            "tasks/test_files.py::test_damage_is_named_in_one_line", BAD_FILES)),
        30: ("Words and codes that look like nothing stay what they are", (
            "faults/test_data.py::test_words_that_look_like_nothing_stay_words_in_every_format",
            "faults/test_data.py::test_words_that_other_readers_of_yaml_change_stay_text",
            "cli/test_verbs.py::test_a_language_called_nan_or_no_is_found")),
        31: ("Parallel files of unequal length; only the line feed ends a line", (
            "translation/test_engines.py::test_unequal_line_counts_name_both",
            "translation/test_engines.py::test_only_the_line_feed_ends_a_line",
            "cli/test_bad_input.py::test_counts_of_source_and_target_differ")),
        32: ("Texts beyond the window are cut and counted; questions have windows", (
            "cli/test_bad_input.py::test_empty_and_overlong_texts_are_predicted_and_counted",
            "training/test_spans.py::test_what_does_not_fit_is_cut_and_counted",
            "training/test_spans.py::test_labels_lead_back_to_the_answers")),
        33: ("Any script comes back as it was; offsets are code points", (
            "tasks/test_files.py::test_any_text_survives_csv", "translation/test_store.py::test_any_text_comes_back",
            "faults/test_data.py::test_every_question_that_is_kept_has_its_answer_where_it_says",
            "outside/test_answer_signs.py::test_a_model_that_points_where_the_labels_do_gives_the_gold_answer")),
        34: ("Answers that are not where they should be: named, never shifted", (
            "tasks/test_questions.py::test_offsets_in_other_units_are_named",
            "tasks/test_questions.py::test_one_wrong_offset_does_not_condemn_the_unit",
            "faults/test_data.py::test_every_question_that_is_kept_has_its_answer_where_it_says")),
        35: ("Translations that look wrong are flagged, counted, and dropped from training alone", (
            "translation/test_checks.py::test_flags",
            "translation/test_documents.py::test_flags_are_counted_and_written",
            "experiment/test_translations.py::test_flagged_training_rows_are_dropped_and_counted_and_test_rows_never")),
        36: ("A translation that is killed gives the bytes of the undisturbed one", (
            "faults/test_data.py::test_a_translator_that_is_killed_at_random_gives_the_bytes_of_the_undisturbed",
            "translation/test_store.py::test_killed_and_resumed_gives_the_same_bytes")),
        37: ("What changes in an engine is another shelf; a damaged row is translated again", (
            "faults/test_data.py::test_whatever_changes_in_an_engine_is_another_shelf",
            "outside/test_damaged_translations.py::test_no_damage_to_a_part_changes_a_translation",
            "translation/test_hf.py::test_identity_follows_the_content")),
        38: ("Unknown languages and pairs are refused with the nearest ones", (
            "faults/test_data.py::test_an_unknown_language_names_the_nearest",
            "translation/test_coverage.py::test_mistakes", "cli/test_bad_input.py::test_an_unknown_language")),
    },
    "Grids": {
        39: ("The driver is shot again and again: every step once, and what failed says why", (
            "faults/test_grid.py::test_a_driver_that_is_shot_again_and_again",
            "faults/test_grid.py::test_a_torn_last_line_of_the_log_takes_no_other_along",
            "experiment/test_interrupted.py::test_workers_end_with_the_command")),
    },
    "Predictions for a file": {
        40: ("Killed at every write and renaming, or stopped, the same call goes on, and ends with the bytes of the "
             "undisturbed one", (
            "serving/test_predict_stream.py::test_killed_at_every_piece_the_bytes_are_those_of_an_undisturbed_call",
            "serving/test_predict_stream.py::test_after_ctrl_c_the_same_call_goes_on_to_the_same_bytes", CALLS)),
        41: ("Rows of another input, adapter or option are never mixed in", (
            "serving/test_predict_stream.py::test_rows_of_another_call_are_never_mixed_in",
            "serving/test_predict_stream.py::test_two_calls_for_one_output_are_refused")),
        42: ("A row that cannot be read is named by file and line, never dropped in silence", (
            "serving/test_predict_stream.py::test_a_row_that_cannot_be_read_is_named_and_the_others_are_predicted",)),
        43: ("Memory does not grow with the rows; a stage that fails stops the others, and leaves no thread", (
            "serving/test_predict_stream.py::test_only_a_few_chunks_of_rows_are_alive",
            "serving/test_predict_stream.py::test_an_error_in_a_stage_stops_the_others_and_leaves_no_thread")),
    },
    "The service": {
        44: ("A body over the limit, by its length or its chunks, or packed, is refused before it is in "
             "memory", (
            "service/test_refusals.py::test_40a_a_body_over_the_limit_is_refused_by_its_length_and_by_its_chunks",
            "service/test_process.py::test_40a_a_body_without_an_end_is_refused_at_the_limit",
        )),
        45: ("No body is a fault of the service: malformed, deep, a key twice, huge numbers, half a surrogate "
             "pair", (
            "service/test_refusals.py::test_40b_a_malformed_body_is_refused_and_never_a_fault_of_ours",
            "service/test_refusals.py::test_40b_any_body_gets_an_answer_below_500",
            "service/test_spec.py::test_no_request_of_the_specification_or_beside_it_is_a_fault",
        )),
        46: ("Too many or too long texts are refused with the limit", (
            "service/test_refusals.py::test_40c_too_many_and_too_long_texts_are_refused_with_the_limit",
        )),
        47: ("Under load clients are told to wait, and every answer is the offline prediction", (
            "service/test_trouble.py::test_40d_beyond_the_limit_clients_are_told_to_wait_and_the_others_get_their_answers",
            "service/test_trouble.py::test_40d_too_many_open_requests_are_refused_before_their_bodies_are_read",
            "service/test_predicting.py::test_many_clients_at_once_get_their_own_answers",
        )),
        48: ("Slow heads and bodies, half-open and idle connections are timed out; a client that leaves frees "
             "its rows", (
            "service/test_process.py::test_40e_slow_heads_and_idle_connections_are_closed",
            "service/test_process.py::test_40e_a_slow_body_gets_408_and_a_half_open_connection_does_no_harm",
            "service/test_trouble.py::test_40e_a_slow_body_is_timed_out",
            "service/test_trouble.py::test_40f_when_the_client_is_gone_its_rows_are_dropped",
            "service/test_process.py::test_40f_a_client_that_leaves_frees_its_rows",
        )),
        49: ("Only a key lets in, compared without telling how near one is; other addresses need one", (
            "service/test_refusals.py::test_40g_only_a_key_lets_in_and_nothing_tells_how_near_one_is",
            "service/test_refusals.py::test_40g_other_addresses_are_refused_without_a_key",
        )),
        50: ("An adapter is one that is listed: no file and no socket is touched for another name", (
            "service/test_refusals.py::test_40h_an_adapter_is_one_that_is_listed",
            "service/test_refusals.py::test_40h_there_are_no_other_routes",
        )),
        51: ("A model that fails or gives no number is an id without path or trace; the next request is fine", (
            "service/test_trouble.py::test_40i_a_model_that_fails_gives_an_id_and_the_next_request_is_fine",
            "service/test_trouble.py::test_40i_a_fault_in_a_route_is_an_answer_in_our_form",
            "service/test_predicting.py::test_what_fails_fails_alone",
        )),
        52: ("A stop finishes what is in flight, and ends with 0", (
            "service/test_trouble.py::test_40j_before_a_stop_it_is_not_ready_and_finishes_what_is_in_flight",
            "service/test_process.py::test_40j_a_stop_finishes_what_is_in_flight_and_ends_with_0",
        )),
        53: ("An engine that is killed or hangs gives 503 for its language alone, and comes back", (
            "service/test_process.py::test_an_engine_that_is_killed_under_load_gives_503_and_comes_back",
            "service/test_trouble.py::test_a_dead_engine_gives_503_for_its_language_alone_and_is_started_again",
            "service/test_trouble.py::test_a_hanging_engine_is_ended_and_others_are_not_delayed",
        )),
        54: ("No text is in the log", (
            "service/test_refusals.py::test_the_log_has_a_line_for_each_request_and_no_text",
        )),
    },
}  # fmt: skip
"""Group -> number -> what is demanded, and the tests that show it, below tests/."""

FIGURES = {
    "training, shot": ("Kills of a training that saves at every step", "kills", "runs", 1000),
    "translation, shot": ("Kills of a translation of 2,000 texts", "kills", "runs", 1000),
    "grid, shot": ("Kills of the driver of a grid of 12 cells, some of which fail", "kills", "runs", 50),
    "experiment, shot": ("Kills of a whole experiment: three methods, predictions", "kills", "runs", 50),
    "system calls": ("Faults at system calls of saves: kill, disk full, disk broken", "points", "", 0),
    "rows": ("Damaged rows, three readers each", "rows", "", 1_000_000),
    "questions": ("Questions with wrong offsets or damaged bytes", "rows", "", 1_000_000),
    "adapters": ("Damaged adapter folders", "folders", "", 250_000),
}
"""Part of `make faults` -> what it is, what counts, what else, and how many a release should have."""

TEXT = """# Reliability

What may go wrong around a run, and what is known to happen then. This page is written by `make faults`; the figures are
those reached so far, in docs/results/reliability.json, and grow with every further call.

    make faults BUDGET=10      kills, damaged rows and folders, faults of system calls: BUDGET minutes
    make load SECONDS=60       the service under 64 clients
    make mutations             each flush, rename, lock and check of this code is taken out: some test must turn red
    make test-all              all tests of the table below, among others

## Figures

{figures}

A run counts as survived when it goes on after every kill and ends with the very bytes of an undisturbed one. A row, a
question or a folder counts when the reader took it or refused it in one line that names the file. A fault of a system
call (strace puts it there, no code is changed) counts when afterwards the old or the new stands, whole, the message was
one line, and the next save works.

{mutations}
{load}## Faults found by these and fixed

{found}

## What shows what

{table}
## What nothing here shows

A kill in the middle of writing one file leaves a hidden file that ends in `.tmp`. Nothing reads it, and the next `run`
or `report` on this machine removes it; what `translate` left beside its output stays there. What
`predict` leaves is `OUTPUT.part`, from which the same call goes on.
Real loss of power: kills leave the system's cache alone. The order of flushes and renames (number 4) stands in for it.
Other file systems than Linux's local ones, and disks that lie about what they have flushed. Attacks on the libraries
beneath: torch, safetensors and tokenizers parse files, and a fault of theirs is one of ours.
"""
FIXED = (
    "A full disk while states of an encoder, or anything else that safetensors writes, are saved was told as a fault "
    "of the program.",
    "A disk that failed at the removal of a temporary file, after the new file was in its place, was told as a fault "
    "of the program.",
    "A disk that failed while the oldest checkpoint was dropped ended the training, although the new one was good.",
    "Too little memory of the machine, other than of a GPU, was told as a fault of the program.",
    "A closed terminal (SIGHUP) ended a training without a checkpoint.",
    "A line of a run's log that a kill had cut off took the next line along.",
)


def table() -> str:
    """Return the demands with their tests."""
    lines: list[str] = []
    for group, demands in DEMANDS.items():
        lines += [f"### {group}", "", "| | What is shown | Tests |", "| -: | - | - |"]
        for number, (said, tests) in demands.items():
            shown = "<br>".join(f"`{name}`" for name in tests)
            lines.append(f"| {number} | {said} | {shown} |")
        lines.append("")
    return "\n".join(lines)


def figures(state: dict[str, Any]) -> str:
    """Return what was reached so far."""
    lines = [
        "| What | Reached | Wanted for a release | Faults found since | Minutes | Command |",
        "| - | -: | -: | -: | -: | - |",
    ]
    for name, (said, unit, more, wanted) in FIGURES.items():
        part = state["parts"].get(name)
        if part is None:
            continue
        counts = part["counts"]
        reached = f"{counts.get(unit, 0):,}"
        if more:
            reached += f" in {counts.get(more, 0):,} {more}, {counts.get('identical', 0):,} with the same bytes"
        every = next((int(key.removeprefix("of ")) for key in counts if key.startswith("of ")), 0)
        goal = f"{wanted:,}" if wanted else f"all {every:,}"
        found = sum(each["part"] == name for each in state["found"])
        command = f'`make faults BUDGET=10 ARGS="{chr(39)}{name}{chr(39)}"`'
        lines.append(f"| {said} | {reached} | {goal} | {found} | {part['minutes']:.0f} | {command} |")
    lines += [
        "",
        *(f"- {each['part']}, seed {each['seed']}: {each.get('cause', each['said'])}" for each in state["found"]),
    ]
    return "\n".join(lines).rstrip()


def mutated(state: dict[str, Any]) -> str:
    """Return what the mutation check said the last time, if it was run."""
    counts = {module: each for module, each in state.get("mutations", {}).items() if each["mutations"]}
    if not counts:
        return ""
    total, red, same = (sum(each[key] for each in counts.values()) for key in ("mutations", "red", "same"))
    left = "".join(f"\n- `{line}`" for line in state.get("survivors", []))
    said = f"Of {total} mutations of {len(counts)} modules (`make mutations`) {red} turned a test red"
    said += f"; {same} change nothing that could be seen (tests/faults/mutate.py says why)" if same else ""
    modules = "".join(f"\n| `{name}` | {each['mutations']} | {each['red']} |" for name, each in sorted(counts.items()))
    shown = f"\n| Module | Mutations | Turned a test red |\n| - | -: | -: |{modules}\n"
    return f"{said}; these did not:\n{left}\n{shown}" if left else f"{said}.\n{shown}"


def write_page(path: Path, state: dict[str, Any]) -> None:
    """Write the page."""
    from crossflare.disk.files import write_atomic

    found = "\n".join(f"- {line}" for line in FIXED)
    write_atomic(path, page(state, found))


def page(state: dict[str, Any], found: str = "\n".join(f"- {line}" for line in FIXED)) -> str:
    """Return the page's text."""
    return TEXT.format(
        figures=figures(state), mutations=mutated(state), load=load_section(state), found=found, table=table()
    )
