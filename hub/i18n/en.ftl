# English. What another language lacks is taken from here.
#
# KNOWN($text) is "yes" unless the text is empty; HMS($seconds) is H:MM:SS.

weekday = { $weekday ->
    [1] Monday
    [2] Tuesday
    [3] Wednesday
    [4] Thursday
    [5] Friday
    [6] Saturday
   *[7] Sunday
}
month = { $month ->
    [1] January
    [2] February
    [3] March
    [4] April
    [5] May
    [6] June
    [7] July
    [8] August
    [9] September
    [10] October
    [11] November
   *[12] December
}
date = { weekday }, { $day } { month } { $year }

hours = { $hours ->
    [one] { $hours } hour
   *[other] { $hours } hours
}
minutes = { $minutes ->
    [one] { $minutes } minute
   *[other] { $minutes } minutes
}
duration-below-minute = less than a minute


## E-mails

mail-greeting = Hello { $recipient },
mail-footer = This message was written by Rollcall. Nobody reads answers to it.

# " at 10:03", where that is known
mail-came = { KNOWN($came) ->
    [yes] {" "}at { $came }
   *[no] {""}
}
# ", 09:00"
mail-due = { KNOWN($due) ->
    [yes] , { $due }
   *[no] {""}
}
# " (Early shift)"
mail-shift = { KNOWN($shift) ->
    [yes] {" "}({ $shift })
   *[no] {""}
}

mail-late-own =
    .subject = You came in late on { $date }
    .event = you came in{ mail-came } on { $date }{ mail-shift }: { $late } after the time agreed{ mail-due }.
    .advice = If this is not right, please ask for a correction. Your manager knows of it too, if you have one.
mail-late-other =
    .subject = { $name } came in late on { $date }
    .event = { $name } ({ $number }) came in{ mail-came } on { $date }{ mail-shift }: { $late } after the time agreed{ mail-due }.
    .advice = If this is not right, a correction can be asked for.

mail-absence-own =
    .subject = Your absence on { $date }
    .event = on { $date }{ mail-shift } no attendance of yours was recorded, or too little of it for the day to count.
    .advice = If you were there, please ask for a correction. If you were ill or on leave, please see that it is entered.
mail-absence-other =
    .subject = { $name }: absence on { $date }
    .event = on { $date }{ mail-shift } no attendance of { $name } ({ $number }) was recorded, or too little of it for the day to count.
    .advice = If this is not right, a correction can be asked for; illness and leave can still be entered.

mail-missing_out-own =
    .subject = Your time of leaving on { $date } is missing
    .event = on { $date }{ mail-shift } you came in{ mail-came }, but no leaving was recorded. Without it the hours can't be counted in full.
    .advice = Please ask for a correction with the time at which you left.
mail-missing_out-other =
    .subject = { $name }: the time of leaving on { $date } is missing
    .event = on { $date }{ mail-shift } { $name } ({ $number }) came in{ mail-came }, but no leaving was recorded. Without it the hours can't be counted in full.
    .advice = A correction with the time of leaving settles it.


## Why a workday is as it is

reason = { $reason } (rule { $rule })

reason-shift = shift { $name }: { $starts_at } to { $ends_at }; it takes punches from { $opens_at } to { $closes_at }
reason-no_shift = no shift on this date, and no shift's window holds the punches
reason-punch = punch { $at }{ reason-terminal }, { $direction }{ reason-clock }: { $role ->
    [first_in] first in
    [last_out] last out
    [duplicate] dropped as a duplicate
   *[used] used
}
reason-terminal = { KNOWN($terminal) ->
    [yes] {" "}at { $terminal }
   *[no] {""}
}
reason-clock = { $clock ->
    [estimated] , time estimated
   *[synchronised] {""}
}
reason-interval = interval { $from_at } to { $to_at }: { HMS($duration_s) }
reason-breaks = breaks: { HMS($break_s) } came off the time worked

reason-holiday = status holiday: the date is a holiday
reason-leave = status leave: the date is leave
reason-incomplete = status incomplete: there are punches, but no in with an out after it
reason-unscheduled = status unscheduled: the date has no shift
reason-absent = status absent: worked { HMS($worked_s) } is below absent_below_min, { HMS($threshold_s) }
reason-half_day = status half_day: worked { HMS($worked_s) } is below half_day_below_min, { HMS($threshold_s) }
reason-present = status present: worked { HMS($worked_s) }
reason-not_due = status expected up to { $until_at }: until then nobody is absent

reason-clock_estimated = clock_estimated: a punch has an estimated time, which makes nobody late or early
reason-half_leave = half_leave: expected time and thresholds are halved
reason-long_span = long_span: { HMS($span_s) } from first in to last out is more than { HMS($limit_s) }
reason-missing_in = missing_in: an out has no in before it
reason-missing_out = missing_out: an in has no out after it
reason-worked_on_leave = worked_on_leave: there are punches on a day of leave

reason-late = late { $late_s } s: due { $due_at }, grace { HMS($grace_s) }
reason-early = early { $early_s } s: expected until { $due_at }, grace { HMS($grace_s) }
reason-expected = expected { HMS($expected_s) }: { $basis ->
    [day_off] nothing is expected on a day off
    [expected_min] expected_min of the shift
   *[shift_length] the shift's length less breaks
}
reason-early_arrival = { HMS($early_s) } before the shift's start does not count for overtime
reason-overtime = overtime { $overtime_s } s: more than the tolerance of { HMS($tolerance_s) }
reason-no_overtime = no overtime: { HMS($balance_s) } beyond the expected time is within the tolerance of { HMS($tolerance_s) }
reason-day_off_overtime = overtime { $overtime_s } s: on a day off all time worked is overtime


## Errors: what is wrong, and the way out

error-absences-await-terminal = { $absences } absences at its site wait for what this terminal saw: let it report, or finalise those days after their shifts have ended
error-account-busy = { $most } reports or dry runs of this account are under way: wait for one to end
error-account-without-person = only accounts that belong to a person ask and decide: rollcall-hub account create { $account } --replace --role { $role } --person NUMBER
error-address-too-often = too many requests from this address: wait a moment
error-adjustment-changed = adjustment { $id } has changed since: read it again
error-adjustment-settled = adjustment { $id } is settled already
error-adjustment-unknown = there is no adjustment { $id }
error-body-invalid = the body is not what the API document describes: { $reason }
error-break-rule-count = at most { $most }
error-calendar-unknown = there is no calendar "{ $calendar }": its first holiday makes it, PUT /api/v1/calendars/NAME/holidays/DATE
error-cell-empty = is empty
error-cell-has-control-character = holds a line break or another control character
error-cell-holds-error = holds the error { $error }
error-cell-not-date = "{ $text }" is no date: write YYYY-MM-DD, from 1900 to 2199
error-cell-not-yes-or-no = "{ $text }" is neither yes nor no: write yes, or no or nothing
error-cell-too-long = has more than { $most } characters
error-cell-without-column = holds something, but the first row has no name for this column
error-changed-meanwhile = somebody else changed the same things meanwhile: nothing was imported, try again
error-character-not-stored = a text holds a character that can't be stored: leave out zero bytes
error-column-missing = is missing: the first row must name it
error-column-twice = appears twice
error-column-unknown = no such column is known; there are { $known }
error-consent-missing = { $number } has not consented to the use of their face: record the consent first
error-correction-decided = correction { $id } was { $state } by { $by } already: ask for another one to change the day again
error-correction-empty = a correction adds a time, ignores a punch or revokes a correction: name at least one
error-correction-not-approved = { $id } is no approved correction of that day
error-correction-revoked = correction { $id } has been revoked already
error-correction-too-long = a correction adds at most { $adds } times and ignores at most { $ignores } punches
error-correction-unknown = there is no correction { $id }
error-corrections-pending = { $most } requests about { $number } wait for a decision already: have one of them decided first
error-cycle-length = { $days } lists of shifts for a cycle of { $cycle } days: write one list a day
error-department-unknown = there is no department "{ $department }"
error-door-missing = terminal { $terminal } has no relay to open a door with: set door.relay on the terminal
error-email-invalid = write NAME@HOST, at most { $most } characters
error-employment-ends-before-start = the employment would end before it begins
error-employment-reversed = employed_from ({ $from }) is after employed_to ({ $to }): empty cells keep what is stored
error-field-missing = is missing: give it a value
error-field-unknown = there is no such field; there are { $known }
error-file-damaged = { $file } is damaged: open it in a spreadsheet and save it again
error-file-empty = { $file } is empty: its first row must name the columns
error-file-has-problems = nothing was imported: { $count ->
    [one] the file has one problem
   *[other] the file has { $count } problems
}
error-file-has-too-many-columns = row { $row } has more than { $most } columns
error-file-has-too-many-days = the file has more than { $most } days: divide it
error-file-has-too-many-rows = the file has more than { $most } rows: divide it
error-file-has-too-much-text = the file has more than { $mebibytes } MiB of text: divide it
error-file-not-utf8 = the file is neither a workbook nor UTF-8 (line { $line }): save it as CSV UTF-8, or as .xlsx
error-file-old-format = { $file } is an old workbook (.xls) or has a password: save it as .xlsx without one
error-file-quotation-open = row { $row } has a quotation mark that is not closed at the end of its cell: close it, or leave it out
error-file-too-large = { $file } is larger than { $mebibytes } MiB: divide it
error-for-admin = only admin may do this
error-for-staff = only admin and hr may do this
error-for-their-manager = only the person's manager, admin and hr may do this
error-form-file = the form has one field, named file, and no others
error-form-invalid = the form can't be read: send the file as multipart/form-data, in the field named file (photos in fields named photo)
error-form-photos = the form has one to { $most } fields named photo, and no others
error-holiday-unknown = { $date } is no holiday of a calendar "{ $calendar }"
error-import-running = another import is running: try again in a moment
error-in-future = { $at } is in the future: write a time in the past
error-interval-reversed = { $from } is after to, { $to }
error-interval-too-long = at most { $days } days at a time
error-language-unknown = "{ $language }" is not valid: use one of { $known }
error-leave-unknown = { $number } has no leave from { $from } to { $to }
error-login-failed = the name or the password is wrong
error-login-required = log in first: POST /api/v1/sessions
error-manager-unknown = no employee has the number "{ $number }", here or in this file
error-not-each-once = list each of { $allowed } at most once
error-not-one-of = "{ $word }" is not valid: use one of { $known }
error-notification-sent = the notification { $id } has been sent
error-notification-unknown = there is no notification { $id }
error-number-fractional = { $number }: write it without .0, as text
error-number-taken = the number { $number } is taken
error-one-date-only = the daily report is of one date; ask for the timesheet
error-out-of-range = a number from { $least } to { $most }
error-override-unknown = { $date } of { $number } has no override: it follows the pattern already
error-own-days = nobody changes their own days: ask somebody else
error-own-decision = nobody decides about their own days: ask somebody else
error-own-employment = nobody changes their own manager, site or employment: ask somebody else
error-own-manager = nobody is their own manager
error-own-punches = this start of the terminal includes your own punches: ask somebody else to set their time
error-own-request = nobody decides what they asked for themselves: ask somebody else
error-pages-are-json = pages come as JSON: leave limit out, or ask for format=json
error-pairing-accepted = { $terminal } was accepted already
error-pairing-code-invalid = a code has 8 letters and digits
error-pairing-code-wrong = { $attempts_left ->
    [0] that is not the code that the terminal shows, for the last time: its request is rejected; start the terminal again, and it asks with another code
   *[other] that is not the code that the terminal shows; { $attempts_left } more attempts
}
error-pairing-key-mismatch = the request's name does not come from its key
error-pairing-not-pending = the request of { $terminal } is { $state }: start the terminal again, and it asks anew
error-pairing-queue-full = too many terminals ask already: accept or reject some, or try again later
error-pairing-request-invalid = the request can't be read: { $reason }
error-pairing-unknown = no terminal { $terminal } asks: `rollcall-hub terminal claims` lists those that do
error-path-invalid = the path is not what the API document describes: { $reason }
error-path-unknown = there is nothing here: /api/v1/openapi.json says what there is
error-pdf-not-built = this hub was built without PDF (the feature `pdf`): ask for xlsx or csv
error-pdf-queue-full = too many PDFs are being made: ask again in a minute, or for CSV or XLSX
error-pdf-too-long = a PDF has at most { $rows } rows: ask for CSV or XLSX, or for fewer days or people
error-period-approved = period { $id }: it was approved already
error-period-approved-not-reopened = period { $id }: an approved period is not reopened: until it is locked, corrections still change its days
error-period-awaits-computation = period { $id }: days of its people are still being computed ({ $requests } requests): try again in a moment
error-period-has-open-days = period { $id }: the shifts of { $days } workdays may still be worked: lock it after them
error-period-locked = period { $id }: it was locked already
error-period-locked-not-reopened = period { $id }: a locked period is not reopened: ask for corrections, which become adjustments, and settle those
error-period-not-approved = period { $id }: it is open: approve it first
error-period-not-over = period { $id }: { $last } is not over yet at { $site }
error-period-open = period { $id }: it is open
error-period-overlaps = a period that holds some of { $from } to { $to } is there already: see /api/v1/periods
error-period-unknown = there is no period { $id }
error-person-out-of-scope = no employee whom you may see has the number "{ $number }"
error-person-unknown = no employee has the number "{ $number }"
error-photo-blurred = { $photo }: the face is blurred: use a sharper photo, or a larger one
error-photo-count = one to { $most } photos at a time, { $kept } a person: withdraw the consent and record it anew to start again
error-photo-face-covered = { $photo }: a part of the face seems to be covered: take off mask or scarf
error-photo-face-small = { $photo }: the face is too small: use a photo in which it is at least { $least } pixels wide
error-photo-face-turned = { $photo }: the face is turned away: use a photo from the front
error-photo-of-somebody-else = { $photo } shows somebody else than the other photos of this person: leave it out, or withdraw the consent and record it anew if those are wrong
error-photo-overexposed = { $photo }: the face is overexposed: use a photo in softer light
error-photo-sideways = { $photo }: it is not clear which way up the face is: turn the photo upright, or use another one from the front
error-photo-too-dark = { $photo }: the face is too dark: use a photo in even light, not against a window
error-photo-too-large = a photo has at most { $mebibytes } MiB
error-photo-unreadable = { $photo }: { $reason }
error-photo-with-several-faces = { $photo }: { $faces } faces were found: use a photo of one person alone, or crop it
error-photo-without-face = { $photo }: no face was found: use a photo that shows one person from the front, upright and in even light
error-punches-not-of-person = each id must be that of a punch of { $number }, and appear only once
error-query-invalid = the query is not what the API document describes: { $reason }
error-row-overlaps = its dates overlap with those of row { $row }
error-row-own-days = nobody changes their own days: ask somebody else
error-row-own-manager = nobody changes their own manager: ask somebody else
error-row-person-unknown = no employee has the number "{ $number }": import people first
error-row-repeats = "{ $number }" is in row { $row } already
error-row-site-unknown = there is no site "{ $site }"; there are { $known }
error-row-too-many-days = a row has at most { $most } days: write it as several
error-schedule-ends-before-start = the schedule would end before it begins
error-schedule-unknown = there is no schedule "{ $schedule }": PUT /api/v1/schedules/NAME makes one
error-shift-twice = the shift "{ $shift }" appears twice
error-shift-unknown = there is no shift "{ $shift }": PUT /api/v1/shifts/NAME makes one
error-site-taken = there is a site "{ $site }" already
error-site-unknown = there is no site "{ $site }": PUT /api/v1/sites/NAME makes one
error-terminal-not-accepted = there is no accepted terminal { $terminal }: `rollcall-hub terminal claims` lists those that ask
error-terminal-unknown = there is no terminal "{ $terminal }": GET /api/v1/terminals lists them
error-text-invalid = 1 to { $most } characters, no blanks at the ends and no control characters
error-time-zone-unknown = there is no time zone "{ $zone }": write one of a place, such as Europe/Berlin
error-too-far-from-date = { $at } lies more than { $days } days from { $date }
error-too-many-rows = more than { $rows } rows: ask for fewer dates
error-too-many-shifts = at most { $most } shifts a day
error-too-many-streams = { $most } live pages of this session are open: close one
error-undated-punch-unknown = no punch { $id } waits for a time: GET /api/v1/punches/unplaced lists those that do
error-workbook-too-complex = the workbook has too many formats or links: copy its rows into a new one, or save them as CSV UTF-8
error-workbook-too-large = the workbook has more than { $mebibytes } MiB when it is unpacked: copy its rows into a new one, or save them as CSV UTF-8
error-workbook-too-many-parts = the workbook has more than { $most } parts: copy its rows into a new one, or save them as CSV UTF-8
error-workbook-too-many-texts = the workbook has more than { $most } texts: copy its rows into a new one, or save them as CSV UTF-8
error-workbook-unreadable = the workbook can't be read ({ $reason }): save it again as .xlsx or as CSV UTF-8
error-workbook-without-sheet = the workbook has no worksheet that can be seen
error-workday-open = punches still count for this day: finalise it after { $until }
error-workday-unknown = { $number } has no workday on { $date }
