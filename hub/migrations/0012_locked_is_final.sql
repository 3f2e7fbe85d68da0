-- Locking a period makes its absences final: otherwise those that wait for a terminal would leave its totals, or
-- come back to them, without an adjustment. So it is for periods that are locked already.
update workdays w set finalised_by = d.changed_by, finalised_at = d.changed_at
from periods d, people p
where d.state = 'locked' and p.id = w.person and w.date between d.from_date and d.to_date
    and (d.site is null or d.site = p.site
        or exists (select from period_people m where m.period = d.id and m.person = p.id))
    and w.status = 'absent' and w.finalised_at is null;
