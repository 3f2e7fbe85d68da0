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
